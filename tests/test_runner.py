"""A run from configuration to record: its fields, its failures, its repetition."""

import dataclasses
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.stored import with_manifest
from unsir_bench import compose
from unsir_bench.config import Config
from unsir_bench.records import RunRecord
from unsir_bench.references.store import Store, weights_hash
from unsir_bench.runner import run
from unsir_bench.runs import experiment
from unsir_bench.runtime.timing import timing_conditions
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import Access, UnlearningData, UnlearningMethod

ROOT = Path(__file__).resolve().parents[1]
TINY = [
    "dataset.subset=15", "model.width=4", "train.epochs=2", "method.noise.steps=4", "method.noise.batch_size=8",
    "method.noise.copies=2", "metrics=fast",
]  # fmt: skip


def tiny_in(folder: Path) -> Config:
    return compose([*TINY, "tracker=none", f"outputs={folder}", f"store.root={folder}/store"])


@pytest.fixture
def tiny(tmp_path: Path) -> Config:
    """UNSIR on a handful of digits, all outputs in a temporary folder."""
    return tiny_in(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The same, done: `run` gives its record, and nothing may change its files."""
    config = tiny_in(tmp_path_factory.mktemp("finished"))
    assert run(config).status == "done"
    return config


@pytest.fixture
def own_finished(finished: Config, tmp_path: Path) -> Config:
    """A copy of it and of its store, to change."""
    shutil.copytree(finished.outputs, tmp_path, dirs_exist_ok=True)
    return tiny_in(tmp_path)


def with_method(config: Config, method: UnlearningMethod) -> Config:
    return dataclasses.replace(config, method=method)


@dataclasses.dataclass
class Breaks(UnlearningMethod):
    """Raises what it is told to."""

    name: str = "breaks"
    how: str = "raise"

    @property
    def requires(self) -> frozenset[Access]:
        return frozenset()

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        if self.how == "raise":
            raise RuntimeError("it broke")
        if self.how == "forget_data":
            data.forget.batches(1)
        if self.how == "interrupt":
            raise KeyboardInterrupt
        with torch.no_grad():
            for weights in model.parameters() if self.how == "huge" else ():
                weights.mul_(1e20)
            if self.how == "nan":
                next(model.parameters()).fill_(math.nan)
        return model


def test_a_record_has_every_field_that_later_work_relies_on(finished: Config) -> None:
    record = run(finished)
    content = json.loads((finished.folder / "record.json").read_text())
    assert record.status == content["status"] == "done"
    for key in (
        "schema_version",
        "run_id",
        "method",
        "dataset",
        "model",
        "forget_classes",
        "seed",
        "config",
        "environment",
    ):
        assert content[key] not in (None, ""), key
    names = [f"{prefix}acc_{kind}_{split}" for prefix in ("", "original_", "retrain_") for kind in ("retain", "forget")
             for split in ("test", "train")]  # fmt: skip
    assert all(0 <= content["metrics"][name] <= 1 for name in names)
    for name in ("unlearn_seconds", "retrain_seconds", "speedup_vs_retrain", "peak_memory_bytes"):
        assert content["metrics"][name] > 0, name
    assert all(isinstance(value, int | float | None) for value in content["metrics"].values())


def test_the_record_says_that_unsir_never_saw_a_forget_sample(finished: Config) -> None:
    record = run(finished)
    access = record.access
    assert access["declared"] == ["retain_subset"]
    assert access["forget"] == {"samples": 0, "reads": 0}
    assert access["retain"]["samples"] == 15 * 9
    assert access["retain"]["reads"] == 2 * 15 * 9
    counted = {"forget_samples_touched": 0, "forget_passes": 0, "retain_samples_touched": 15 * 9, "retain_passes": 2}
    assert {name: record.metrics[name] for name in counted} == counted


@pytest.mark.usefixtures("ticking_time")
def test_the_speed_up_is_the_ratio_of_the_two_times_and_phases_add_up(tiny: Config) -> None:
    metrics = run(tiny).metrics
    assert metrics["speedup_vs_retrain"] == pytest.approx(metrics["retrain_seconds"] / metrics["unlearn_seconds"])
    phases = sum(metrics[f"{name}_seconds"] for name in ("noise", "impair", "repair"))
    # A second at every reading of the clock: before, between and after the three phases, and at the stage after impair.
    assert phases > 0 and metrics["unlearn_seconds"] == phases + 5


def test_the_documentation_names_every_field_of_a_record(finished: Config) -> None:
    record = run(finished)
    documented = set(re.findall(r"^\| `([^`]+)`", (ROOT / "docs" / "records.md").read_text(), flags=re.M))
    costs = {name for name in record.metrics if name.startswith(("unlearn_", "speedup_", "peak_"))}
    top = {field.name for field in dataclasses.fields(RunRecord)}
    assert costs
    # tests/evaluation/test_evaluate.py holds the other metrics against docs/metrics.md.
    assert top | costs | {"retrain_seconds", "<phase>_seconds", "<phase>_steps"} <= documented


def test_the_same_configuration_gives_identical_weights_and_metrics(finished: Config, tmp_path: Path) -> None:
    first = run(finished)
    again = dataclasses.replace(finished, outputs=str(tmp_path / "again"))
    again.store = dataclasses.replace(finished.store, root=str(tmp_path / "again" / "store"))
    second = run(again)
    assert first.fingerprints == second.fingerprints
    accuracies = {key: value for key, value in first.metrics.items() if "acc_" in key}
    assert accuracies == {key: second.metrics[key] for key in accuracies}


def test_the_network_is_warmed_up_before_the_clock_starts_and_comes_out_the_same(
    own_finished: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = run(own_finished)
    warmed: list[tuple[int, float]] = []
    original = experiment.warm_up

    def watched(model: nn.Module, batch_size: int, context: RunContext) -> None:
        warmed.append((batch_size, context.clock.total))
        original(model, batch_size, context)

    monkeypatch.setattr(experiment, "warm_up", watched)
    monkeypatch.setattr("unsir_bench.training.warm_up.SLOW_AT_FIRST", ("cpu",))
    warm = run(dataclasses.replace(own_finished, outputs=str(tmp_path / "warm")))
    assert warmed == [(own_finished.dataset.batch_size, 0.0)]
    assert warm.fingerprints == cold.fingerprints


def test_a_finished_run_is_not_done_again(own_finished: Config, caplog: pytest.LogCaptureFixture) -> None:
    run(own_finished)
    before = (own_finished.folder / "record.json").stat().st_mtime_ns
    with caplog.at_level("INFO"):
        run(own_finished)
    assert "is finished (done): skipped" in caplog.text
    assert (own_finished.folder / "record.json").stat().st_mtime_ns == before


def test_a_failure_is_recorded_with_its_traceback_and_tried_again(tiny: Config) -> None:
    broken = with_method(tiny, Breaks())
    record = run(broken)
    assert (record.status, record.reason) == ("failed", "RuntimeError: it broke")
    assert "in unlearn" in (record.error or "")
    fixed = with_method(tiny, Breaks())
    fixed.method.unlearn = lambda model, data, context: model  # type: ignore[method-assign]
    assert fixed.run_id == record.run_id
    assert run(fixed).status == "done"


def test_touching_undeclared_data_fails_the_run_by_name(tiny: Config) -> None:
    record = run(with_method(tiny, Breaks(how="forget_data")))
    assert record.status == "failed"
    assert "method 'breaks' asked for forget_data but declares nothing" in (record.reason or "")


def test_weights_that_are_nan_are_recorded_as_diverged(tiny: Config) -> None:
    assert run(with_method(tiny, Breaks(how="nan"))).status == "diverged"


def test_finite_weights_whose_logits_are_not_are_recorded_as_diverged(tiny: Config) -> None:
    record = run(with_method(tiny, Breaks(how="huge")))
    assert (record.status, record.metrics.get("acc_forget_test")) == ("diverged", None)
    assert "a logit of the unlearned model became nan in phase 'evaluation'" in (record.reason or "")


def test_a_loss_that_turns_nan_stops_the_run_as_diverged(tiny: Config) -> None:
    tiny.method.impair.optimizer = "sgd"  # type: ignore[attr-defined]
    tiny.method.impair.lr = 1e30  # type: ignore[attr-defined]
    record = run(tiny)
    assert record.status == "diverged"
    assert re.search(r"the loss became (nan|inf) in phase 'impair' at step \d+", record.reason or "")
    assert record.access["forget"]["samples"] == 0


def test_an_interruption_by_the_user_leaves_no_record_and_the_original_is_kept(tiny: Config) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(with_method(tiny, Breaks(how="interrupt")))
    assert not list(Path(tiny.outputs).rglob("record.json"))
    assert len(list((Path(tiny.store.root) / "entries").glob("[!.]*"))) == 1


@pytest.mark.usefixtures("ticking_time")
def test_retraining_as_a_method_is_the_reference_itself(tiny: Config) -> None:
    retrain = compose(["method=retrain"]).method
    record = run(with_method(tiny, retrain))
    metrics = record.metrics
    assert metrics["acc_retain_test"] == metrics["retrain_acc_retain_test"]
    # The time is credited; beside it are the opening and closing of the clock, a second each.
    assert metrics["unlearn_seconds"] == metrics["retrain_seconds"] + 2
    assert metrics["speedup_vs_retrain"] == pytest.approx(metrics["retrain_seconds"] / metrics["unlearn_seconds"])
    assert record.access["retain"] == {"samples": 15 * 9, "reads": 15 * 9 * 2}
    assert len(list((Path(tiny.store.root) / "entries").glob("[!.]*"))) == 2


def test_seconds_of_another_machine_enter_no_speed_up(own_finished: Config, tmp_path: Path) -> None:
    here = run(own_finished)
    assert here.metrics["speedup_vs_retrain"] and "speedup_vs_retrain" not in here.metric_notes

    def timed_elsewhere(manifest: dict[str, Any]) -> None:
        assert manifest["timed_on"] == timing_conditions(here.environment)
        manifest["timed_on"]["threads"] += 7

    for role in ("original", "retrain"):
        with_manifest(Path(own_finished.store.root) / "entries" / str(here.fingerprints[role]), timed_elsewhere)
    retrain = compose(["method=retrain"]).method
    elsewhere = dataclasses.replace(own_finished, outputs=str(tmp_path / "elsewhere"))
    unlearned, retrained = run(elsewhere), run(with_method(elsewhere, retrain))
    assert unlearned.fingerprints == here.fingerprints
    assert unlearned.metrics["unlearn_seconds"] > 0
    assert retrained.metrics["unlearn_seconds"] is retrained.metrics["train_seconds"] is None
    for record in (unlearned, retrained):
        assert record.metrics["retrain_seconds"] is record.metrics["speedup_vs_retrain"] is None
        assert "threads" in record.metric_notes["speedup_vs_retrain"]
        assert "store.root" in record.metric_notes["retrain_seconds"]


def test_saved_weights_are_those_of_the_fingerprint(finished: Config) -> None:
    record = run(finished)
    [kept] = record.unlearned
    path = Path(finished.store.root) / "entries" / kept["key"] / "weights.safetensors"
    assert weights_hash(load_file(path)) == record.fingerprints["weights"] == kept["weights"]


def test_save_model_false_keeps_no_unlearned_weights(tiny: Config) -> None:
    record = run(dataclasses.replace(tiny, save_model=False))
    assert record.status == "done" and record.unlearned == []
    assert len(Store(Path(tiny.store.root)).folders()) == 2  # original and retrain


def test_weights_that_a_reference_has_are_not_kept_twice(tiny: Config) -> None:
    record = run(with_method(tiny, compose(["method=original"]).method))
    assert record.unlearned[0]["key"] == record.fingerprints["original"]
    assert len(Store(Path(tiny.store.root)).folders()) == 2


def test_streamed_images_give_the_result_of_resident_ones(finished: Config, tmp_path: Path) -> None:
    resident = run(finished)
    streamed = dataclasses.replace(finished, outputs=str(tmp_path / "streamed"))
    streamed.hardware = dataclasses.replace(finished.hardware, data_on="stream")
    streamed.store = dataclasses.replace(finished.store, root=str(tmp_path / "streamed" / "store"))
    assert run(streamed).fingerprints == resident.fingerprints


def test_a_record_holds_no_path_of_the_machine_outside_the_configured_ones(finished: Config) -> None:
    record = run(finished)
    text = json.dumps([record.environment, record.metrics, record.access, record.fingerprints])
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


def test_without_a_retrain_reference_nothing_is_retrained_and_its_metrics_are_null(tiny: Config) -> None:
    quick = dataclasses.replace(tiny, retrain_reference=False)
    record = run(quick)
    assert record.status == "done" and record.run_id != tiny.run_id
    assert record.metrics["retrain_acc_forget_test"] is record.metrics["speedup_vs_retrain"] is None
    assert record.metrics["acc_forget_test"] is not None
    kept = {record.fingerprints["original"], record.unlearned[0]["key"]}
    assert {folder.name for folder in Store(Path(tiny.store.root)).folders()} == kept


def test_a_retrain_that_is_there_is_used_even_if_none_would_be_trained(own_finished: Config) -> None:
    reference = run(own_finished)
    record = run(dataclasses.replace(own_finished, retrain_reference=False))
    assert record.fingerprints == reference.fingerprints
    assert record.metrics["retrain_acc_retain_test"] == reference.metrics["retrain_acc_retain_test"]


def test_a_step_of_a_sequence_without_a_retrained_model_keeps_no_number_of_an_earlier_one(tmp_path: Path) -> None:
    places = ("tracker=none", f"outputs={tmp_path}", f"store.root={tmp_path}/store")
    run(compose([*TINY, *places, "forget=single"]))  # leaves the retrained model of the first step in the store
    record = run(compose([*TINY, *places, "forget.sequence=[[0],[1]]", "retrain_reference=false"]))
    first, second = (step["metrics"] for step in record.details["steps"])
    assert first["retrain_acc_retain_test"] is not None and first["gap_acc_retain_test"] is not None
    assert second["retrain_acc_retain_test"] is None
    assert {value for name, value in record.metrics.items() if name.startswith(("gap_", "retrain_"))} == {None}
    assert record.metrics["acc_forget_test"] == second["acc_forget_test"]
