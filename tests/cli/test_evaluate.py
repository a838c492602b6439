"""`unsir-bench evaluate` on finished runs: what is added is what the run would have had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from unsir_bench.baselines.finetune import Finetune

from tests.stored import with_weights
from unsir_bench.cli.bootstrap import compose
from unsir_bench.cli.evaluate import evaluate, evaluate_command
from unsir_bench.cli.reproduce import reproduce_command
from unsir_bench.config import Config
from unsir_bench.records import RECORD_FILE, RunRecord, finished_record
from unsir_bench.report.tables.comparison import comparison_tables
from unsir_bench.report.tables.metrics import metric_tables
from unsir_bench.runner import run
from unsir_bench.runs.finished_runs import finished_run
from unsir_bench.sweeps.outcome import SweepJob

TINY = ["dataset.subset=12", "model.width=4", "train.epochs=2", "tracker=none", "method=finetune", "hardware=cpu"]
FULL = ["metrics=full", "metrics.relearn.cap=4", "metrics.relearn.every=2", "metrics.lira_shadows=2",
        "metrics.grad_cam_samples=2"]  # fmt: skip
RELEARN = ["metrics=fast", "metrics.relearn.cap=4", "metrics.relearn.every=2"]
TIMED = ("seconds", "speedup", "bytes")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def configured(tmp_path: Path, shared: Path) -> Callable[..., Config]:
    """A tiny run of digits, by its sweep and further overrides; the store is that of all tests."""

    def of(sweep: str, *overrides: str) -> Config:
        return compose([*TINY, f"outputs={tmp_path}", f"store.root={shared}", f"sweep={sweep}", *overrides])

    return of


@pytest.fixture
def alone(tmp_path: Path) -> Callable[..., Config]:
    """The same with a store of its own, whose content the test is about."""

    def of(sweep: str, *overrides: str) -> Config:
        return compose([*TINY, f"outputs={tmp_path}", f"store.root={tmp_path}/store", f"sweep={sweep}", *overrides])

    return of


def never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let unlearning raise from now on."""

    def refuse(*_: Any) -> None:
        raise AssertionError("it was unlearned again")

    monkeypatch.setattr(Finetune, "unlearn", refuse)


def record_of(config: Config) -> RunRecord:
    record = finished_record(config.folder)
    assert record is not None and record.status == "done"
    return record


def done(config: Config) -> RunRecord:
    """The record of a run done now, as a reader finds it."""
    run(config)
    return record_of(config)


def untimed(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if not any(word in name for word in TIMED)}


def assert_same_results(record: RunRecord, other: RunRecord) -> None:
    assert untimed(record.metrics) == untimed(other.metrics)
    assert record.metric_notes == other.metric_notes
    plain, others = ({**each.details, "metric_seconds": None, "steps": None} for each in (record, other))
    assert plain == others
    steps, other_steps = (each.details.get("steps", []) for each in (record, other))
    assert [untimed(step["metrics"]) for step in steps] == [untimed(step["metrics"]) for step in other_steps]


@pytest.mark.parametrize("forget", ["forget=single", "forget.sequence=[[0],[1]]"], ids=["single", "sequence"])
def test_full_metrics_added_to_a_fast_run_are_those_of_a_full_run(
    configured: Callable[..., Config], forget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, full = configured("fast", forget, "metrics=fast"), configured("full", forget, *FULL)
    before, wanted = done(fast), done(full)
    never_again(monkeypatch)
    assert evaluate_command([str(fast.folder.parent), *FULL]) == 0
    after = record_of(fast)
    assert len(after.metrics) > len(before.metrics)
    assert_same_results(after, wanted)
    for name in ("unlearn_seconds", "retrain_seconds", "peak_memory_bytes"):
        assert after.metrics[name] == before.metrics[name]
    assert (after.run_id, after.finished, after.config) == (before.run_id, before.finished, before.config)
    [added] = after.evaluated
    assert added["metrics"]["lira_shadows"] == 2 and "relearn_censored" in added["added"]
    assert "acc_forget_test" not in added["added"]
    assert (fast.folder / "grad_cam.safetensors").read_bytes() == (full.folder / "grad_cam.safetensors").read_bytes()


BANK = ["metrics=fast", "metrics.bank_size=3"]


def test_a_bank_added_to_a_run_is_that_of_a_run_with_one_and_is_never_lost(
    configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fast, bank = configured("fast", "metrics=fast"), configured("bank", *BANK)
    run(fast)
    wanted = done(bank)
    assert wanted.metrics["ulira_accuracy"] is not None and wanted.metrics["retrain_rmia_auc"] is not None
    never_again(monkeypatch)  # the models of the bank are in the store
    assert evaluate_command([str(fast.folder), *BANK]) == 0
    assert_same_results(record_of(fast), wanted)
    # One preset after another: what is there stays, and a run that asks for less is finished.
    before = (bank.folder / RECORD_FILE).read_bytes()
    assert evaluate_command([str(bank.folder), "metrics=fast"]) == 0
    assert "nothing is missing" in capsys.readouterr().out.splitlines()[-1]
    assert (bank.folder / RECORD_FILE).read_bytes() == before
    assert finished_run(configured("bank", "metrics=fast")) is not None
    assert evaluate_command([str(bank.folder), *BANK, "metrics.collateral=true"]) == 0
    after = record_of(bank)
    assert after.metrics["acc_nearest_test"] is not None and after.measured_with["bank_size"] == 3
    assert (
        wanted.metrics.items() - {("evaluation_seconds", wanted.metrics["evaluation_seconds"])} <= after.metrics.items()
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["forget.sequence=[[0],[1]]"], "in sequence"), (["retrain_reference=false"], "retrain_reference=false")],
)
def test_a_bank_is_added_to_no_run_that_could_not_have_had_one(
    configured: Callable[..., Config], words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured("one", "metrics=fast", *words)
    run(config)
    before = (config.folder / RECORD_FILE).read_bytes()
    assert evaluate_command([str(config.folder), *BANK]) == 1
    assert reason in "".join(capsys.readouterr())
    assert (config.folder / RECORD_FILE).read_bytes() == before


def test_what_was_missing_loses_its_reason_when_it_is_measured(alone: Callable[..., Config]) -> None:
    run(alone("zero", "metrics=fast"))
    brief = alone("brief", "metrics=fast", "metrics.floor=true", "retrain_reference=false")
    assert "retrain_reference=false" in done(brief).metric_notes["floor_acc_retain_test"]
    run(alone("one", "metrics=fast", "seed=1"))
    assert evaluate_command([str(brief.folder), "metrics=fast", "metrics.floor=true", "metrics.weights=true"]) == 0
    after = record_of(brief)
    assert after.metrics["floor_acc_retain_test"] is not None and "floor_acc_retain_test" not in after.metric_notes
    wanted = alone("brief", "metrics=fast", "metrics.floor=true", "metrics.weights=true")
    assert finished_run(wanted) is not None


def test_of_a_metric_that_lacked_the_retrained_model_the_rest_is_added_when_it_is_there(
    alone: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = ["metrics=fast", "metrics.outputs=true"]
    before = done(alone("alone", *outputs, "retrain_reference=false"))
    assert "forget_prediction_entropy" in before.metrics and "forget_prediction_tv_to_retrain" not in before.metrics
    wanted = done(alone("whole", *outputs, "metrics.weights=true"))
    never_again(monkeypatch)
    config = alone("alone", *outputs, "retrain_reference=false")
    assert evaluate_command([str(config.folder), *outputs, "metrics.weights=true"]) == 0
    after = record_of(config)
    assert wanted.metrics["forget_prediction_tv_to_retrain"] is not None
    names = [name for name in wanted.metrics if name.startswith(("forget_prediction", "js_", "gap_forget"))]
    assert {name: after.metrics.get(name) for name in names} == {name: wanted.metrics[name] for name in names}
    assert "forget_prediction_tv_to_retrain" in after.evaluated[0]["added"]
    assert "forget_prediction_entropy" not in after.evaluated[0]["added"]


def test_a_run_is_finished_if_one_that_unlearned_the_same_has_its_metrics(
    alone: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, relearned = alone("one", "metrics=fast"), alone("one", *RELEARN)
    assert fast.run_id != relearned.run_id
    done(fast)
    assert finished_run(relearned) is None
    assert evaluate_command([str(fast.folder), *RELEARN]) == 0
    never_again(monkeypatch)
    assert run(relearned).run_id == fast.run_id and not relearned.folder.exists()
    assert SweepJob.of((), relearned).finished == "done"
    others = (
        [*RELEARN, "metrics.relearn.cap=2"], [*RELEARN, "metrics.outputs=true"], [*RELEARN, "seed=1"],
        [*RELEARN, "unlearn_seed=1"], [*RELEARN, "method.train.epochs=3"],
    )  # fmt: skip
    assert [finished_run(alone("one", *words)) for words in others] == [None] * len(others)


def test_a_run_with_added_metrics_is_reproduced_with_them(
    alone: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = alone("one", "metrics=fast", "unlearn_seed=5")
    done(config)
    assert evaluate_command([str(config.folder), *RELEARN]) == 0
    before = (config.folder / RECORD_FILE).read_bytes()
    assert reproduce_command([str(config.folder), "--store", str(tmp_path / "store")]) == 0
    printed = capsys.readouterr().out
    assert "relearn_censored" in printed and "identical bits" in printed
    assert (config.folder / RECORD_FILE).read_bytes() == before


def test_tables_name_the_cap_that_a_time_was_added_with() -> None:
    metrics = {"relearn_batches": None, "relearn_censored": 1, "acc_forget_test": 0.1, "acc_retain_test": 0.9}
    record = RunRecord(
        run_id="unsir-0", sweep="s", method="unsir", dataset="digits", model="net", seed=0, status="done",
        config={"method": {"name": "unsir"}, "metrics": {"relearn": {"cap": 0}}}, metrics=metrics,
        evaluated=[{"metrics": {"relearn": {"cap": 40}}}, {"metrics": {"relearn": {"cap": 300}}}],
    )  # fmt: skip
    assert ">300" in metric_tables([record])
    [table] = comparison_tables("s", [record])
    assert [row.censored for row in table.rows if row.method == "unsir"] == [[300]]


def test_what_is_there_is_not_measured_again_and_other_settings_replace(
    configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, other = configured("one", "metrics=fast"), ["metrics.relearn.cap=2", "metrics.relearn.every=1"]
    wanted = done(configured("other", "metrics=fast", *other))
    run(config)
    never_again(monkeypatch)
    assert evaluate_command([str(config.folder), *RELEARN]) == 0
    first = (config.folder / RECORD_FILE).read_bytes()
    for again in (RELEARN, ["metrics=fast"]):
        assert evaluate_command([str(config.folder), *again]) == 0
        assert "nothing is missing" in capsys.readouterr().out.splitlines()[-1]
        assert (config.folder / RECORD_FILE).read_bytes() == first
    assert evaluate_command([str(config.folder), "metrics=fast", *other]) == 0
    assert_same_results(record_of(config), wanted)


def test_a_single_key_leaves_relearning_as_the_run_measured_it(configured: Callable[..., Config]) -> None:
    config = configured("one", *RELEARN)
    before = done(config)
    after = evaluate(config.folder, ["metrics.collateral=true"])
    assert after.measured_with == {**before.measured_with, "collateral": True}
    assert set(after.metrics) - set(before.metrics) == {
        f"{prefix}acc_nearest_test" for prefix in ("", "original_", "retrain_", "gap_")
    }


def test_a_run_whose_models_or_weights_are_not_there_is_named_and_left_as_it_is(
    alone: Callable[..., Config], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kept, other = (
        alone("kept", "metrics=fast"),
        alone("kept", "metrics=fast", "save_model=false", "seed=1"),
    )
    record = done(kept)
    run(other)
    before = [(config.folder / RECORD_FILE).read_bytes() for config in (kept, other)]

    def changed(weights: Any) -> dict[str, Tensor]:
        return {name: value + 1 for name, value in weights.items()}

    with_weights(tmp_path / "store" / "entries" / str(record.fingerprints["original"]), changed)
    assert evaluate_command([str(kept.folder), *RELEARN]) == 1
    assert "weights of the original model" in capsys.readouterr().out
    with_weights(tmp_path / "store" / "entries" / record.unlearned[0]["key"], changed)
    assert evaluate_command([str(kept.folder.parent), *RELEARN]) == 1
    printed = capsys.readouterr().out
    assert "holds other weights than the record names" in printed and "save_model=false" in printed
    assert before == [(config.folder / RECORD_FILE).read_bytes() for config in (kept, other)]


@pytest.mark.parametrize("method", ["finetune", "retrain"])
def test_without_its_unlearned_weights_a_run_is_refused_before_anything_is_trained(
    method: str, configured: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured("kept", "metrics=fast", f"method={method}")
    run(config)
    empty = tmp_path / "empty"
    trained = method == "retrain"  # its weights are a reference's, which can be trained again
    status = evaluate_command([str(config.folder), *RELEARN, f"store.root={empty}"])
    assert (status, empty.exists()) == ((0, True) if trained else (1, False)), capsys.readouterr().out


def test_a_metric_that_breaks_on_one_run_stops_no_other(
    configured: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = configured("one", "metrics=fast"), configured("one", "metrics=fast", "seed=1")
    run(first)
    run(second)

    def added(record: RunRecord, *_: Any) -> list[str]:
        return ["a metric"] if record.seed == 1 else [str(1 // record.seed)]

    monkeypatch.setattr("unsir_bench.cli.evaluate.add_metrics", added)
    assert evaluate_command([str(first.folder), str(second.folder), *RELEARN]) == 1
    assert f"{second.run_id}: 1 metrics added" in capsys.readouterr().out
    assert f"{first.run_id}: not evaluated: ZeroDivisionError" in caplog.text


def test_a_folder_may_be_the_working_directory_or_have_an_equals_sign(
    configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured("one", "metrics=fast")
    before = done(config)
    monkeypatch.chdir(config.folder)
    assert evaluate_command([".", "metrics=fast"]) == 0
    assert f"{config.run_id}: nothing is missing" in capsys.readouterr().out
    assert evaluate(".", ["metrics=fast"]).digest == before.digest
    assert not (config.folder / ".locks").exists()
    renamed = config.folder.parent.rename(config.folder.parents[1] / "seed=0")
    monkeypatch.chdir(renamed.parent)
    assert evaluate_command(["seed=0", "metrics=fast"]) == 0
    assert f"{config.run_id}: nothing is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nowhere"], "there is no record"),
        ([], "there is no record"),
        (["RUN", "nowhere"], "nowhere: there is no record"),
        (["nowhere", "seed=1"], "seed=1: for finished runs, only metrics, store.root, dataset.root, dataset.path"),
        (["RUN", "metrics=absent"], "absent"),
        (["RUN", "metrics.relearn.every=7", "metrics.relearn.cap=3"], "metrics.relearn.every=7: must be at most"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(
    words: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / RECORD_FILE).write_text("{}")
    assert evaluate_command([str(tmp_path) if word == "RUN" else word for word in words]) == 2
    assert complaint in capsys.readouterr().out
