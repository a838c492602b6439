"""Studies: what they try, that they resume, what they may read, and how their winner is used."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from unsir_bench import Access, Recipe, RunContext, UnlearningData, UnlearningMethod, compose, number
from unsir_bench.cli.tune import DEFAULTS, tune_command
from unsir_bench.config import validate
from unsir_bench.data.device_data import DeviceData
from unsir_bench.errors import ConfigError
from unsir_bench.records import RunRecord, records_below
from unsir_bench.references.tuned_values import TunedValues, tuned_values_path
from unsir_bench.runs.run_lock import LOCKS
from unsir_bench.runtime.locks import locked
from unsir_bench.sweeps.tuning import (
    Study,
    StudyInUseError,
    TuningStoppedError,
    closeness_to_retraining,
    finished,
    opened,
    trial_rows,
    tune,
)

optuna = pytest.importorskip("optuna", reason="Optuna is of the extra tune")
TINY = ["dataset.subset=15", "model=allcnn_tiny", "train.epochs=1", "hardware=cpu"]


@dataclass
class Own(UnlearningMethod):
    """A method of a user's."""

    name: str = "own"
    selection: float = number(2.0, above=0, search=(1.0, 9.0))
    rounds: int = number(2, at_least=1, search=(1, 4))
    fixed: float = number(1.0, above=0)
    train: Recipe = field(default_factory=lambda: Recipe(lr=0.01))
    requires = frozenset[Access]()

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        return model


def places(folder: Path) -> list[str]:
    return [f"outputs={folder}", f"store.root={folder}/store"]


def study_of(folder: Path, *words: str, forget: tuple[tuple[int, ...], ...] = ((8,), (7, 9))) -> Study:
    return Study(compose([*DEFAULTS, "method=ssd", *TINY, *places(folder), *words]), forget)


def study_with_folder(study: Study) -> Study:
    study.folder.mkdir(parents=True)
    return study


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The values that studies try; no run is made, and a selection of 3 is best."""
    tried: list[dict[str, Any]] = []

    def score(study: Study, values: dict[str, Any]) -> float:
        tried.append(values)
        return 1 / (1 + abs(values["method.selection"] - 3))

    monkeypatch.setattr(Study, "score", score)
    return tried


def test_a_study_begins_with_the_preset_stays_in_the_ranges_and_keeps_the_best(
    tmp_path: Path, scored: list[dict[str, Any]]
) -> None:
    study = study_of(tmp_path)
    winner = tune(study, 8)
    assert scored[0] == study.base_values == {"method.selection": 5.0, "method.dampening": 1.0}
    assert len(scored) == winner.trials == 8
    assert all(1 <= one["method.selection"] <= 100 and 0.1 <= one["method.dampening"] <= 1 for one in scored)
    best = min(scored, key=lambda one: abs(one["method.selection"] - 3))
    assert winner.values == best
    path = tuned_values_path(f"{tmp_path}/store", "ssd", "digits", "allcnn_tiny")
    assert TunedValues.read(path, "settings=tuned") == winner
    rows = trial_rows(study)
    assert len(rows) == 8
    assert [row["best"] for row in rows] == ["best"] + [""] * 7
    assert sorted((row["score"] for row in rows), reverse=True) == [row["score"] for row in rows]


def test_a_study_resumes_and_repeats_what_a_killed_process_left(tmp_path: Path, scored: list[dict[str, Any]]) -> None:
    study = study_of(tmp_path)
    tune(study, 3)
    with opened(study) as opt:
        trial = opt.ask()
        left = {"method.selection": trial.suggest_float("method.selection", 1, 100, log=True)}
        left["method.dampening"] = trial.suggest_float("method.dampening", 0.1, 1.0, log=True)
    assert tune(study, 5).trials == 5
    assert len(scored) == 5
    assert scored[3] == left
    assert tune(study, 5).trials == 5  # nothing is left to do
    assert tune(study, 9, hours=0.0).trials == 5  # nor is there time
    assert len(scored) == 5


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_cut_last_line_of_the_journal_costs_its_trial_alone(
    tmp_path: Path, scored: list[dict[str, Any]], cut: int
) -> None:
    study = study_of(tmp_path)
    tune(study, 2)
    os.truncate(study.journal, study.journal.stat().st_size - cut)
    assert tune(study, 3).trials == tune(study, 3).trials == 3
    assert len(trial_rows(study)) == 3 and len(scored) == 4


def test_a_line_in_the_journal_that_cannot_be_read_is_named_by_its_file(
    tmp_path: Path, scored: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(tmp_path)
    tune(study, 1)
    study.journal.write_bytes(study.journal.read_bytes().replace(b"{", b"", 1))
    assert tune_command(["method=ssd", "--trials", "2", *TINY, *places(tmp_path)]) == 1
    assert f"ssd: {study.journal}: a line of it cannot be read" in capsys.readouterr().err


def test_a_study_that_another_process_works_on_is_left_to_it(tmp_path: Path, scored: list[dict[str, Any]]) -> None:
    study = study_of(tmp_path)
    with opened(study_with_folder(study)) as opt:
        trial = opt.ask()
        with locked(study.folder / LOCKS, study.name, "it"), pytest.raises(StudyInUseError, match=study.name):
            tune(study, 1)
        assert opt.trials[trial.number].state == optuna.trial.TrialState.RUNNING
    assert not scored
    assert tune(study, 1).trials == 1


def test_the_lock_of_a_journal_in_a_relative_folder_leads_to_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = study_with_folder(study_of(Path("own")))
    links, link = [], os.symlink

    def noting(leads_to: str, place: str) -> None:
        link(leads_to, place)
        links.append(Path(place).samefile(study.folder / f"{study.name}.journal"))

    monkeypatch.setattr(os, "symlink", noting)
    with opened(study):
        pass
    assert links and all(links)


def test_an_interruption_of_the_first_trial_does_not_cost_the_preset(
    tmp_path: Path, scored: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path)

    def interrupted(study: Study, values: dict[str, Any]) -> float:
        raise KeyboardInterrupt

    score = Study.score
    monkeypatch.setattr(Study, "score", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tune(study, 2)
    monkeypatch.setattr(Study, "score", score)
    tune(study, 3)
    assert scored[0] == study.base_values and scored.count(study.base_values) == 1


def test_a_trial_with_a_failed_run_has_no_score_and_is_made_up_for(
    tmp_path: Path, scored: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path)
    failing(monkeypatch, 1)
    assert tune(study, 3).trials == 3
    assert len(scored) == 3 and study.base_values not in scored
    assert tune(study, 4).trials == 4 and scored[-1] == study.base_values


def test_failures_in_a_row_end_the_study_with_the_first_reason(
    tmp_path: Path, scored: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path)
    failing(monkeypatch, 3)
    with pytest.raises(TuningStoppedError, match="3 trials in a row failed, the first since run 1 failed: no memory"):
        tune(study, 2)
    assert not scored and not trial_rows(study)
    assert tune(study, 2).trials == 2 and scored[0] == study.base_values


def failing(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let the next trials fail."""
    tried, score = [], Study.score

    def fails(study: Study, values: dict[str, Any]) -> float:
        tried.append(values)
        if len(tried) <= times:
            closeness_to_retraining(RunRecord(f"run {len(tried)}", "s", "m", "d", "n", 0, {}, reason="no memory"))
        return score(study, values)

    monkeypatch.setattr(Study, "score", fails)


def test_the_values_of_another_study_are_kept_unless_told(tmp_path: Path, scored: list[dict[str, Any]]) -> None:
    first, other = study_of(tmp_path), study_of(tmp_path, forget=((3,),))
    tune(first, 2)
    with pytest.raises(ConfigError, match=rf"values of the study {first.name}: --replace puts those of {other.name}"):
        tune(other, 2)
    assert len(scored) == 2 and not other.journal.exists()
    assert tune(first, 3).trials == 3
    path = tuned_values_path(f"{tmp_path}/store", "ssd", "digits", "allcnn_tiny")
    assert tune(other, 2, replace_other=True) == TunedValues.read(path, "settings=tuned")


def test_a_trial_is_the_mean_over_groups_of_runs_that_read_no_test_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    labels = DeviceData.labels

    def noting(data: DeviceData, split: str) -> Any:
        sizes.append(len(labels(data, split)))
        return labels(data, split)

    monkeypatch.setattr(DeviceData, "labels", noting)
    study = study_of(tmp_path)
    score = study.score({"method.selection": 2.0})
    records = [record for _, record in records_below(tmp_path / "tuning")]
    assert {tuple(record.forget_classes) for record in records} == {(8,), (7, 9)}
    assert score == pytest.approx(sum(map(closeness_to_retraining, records)) / 2)
    assert {record.config["method"]["selection"] for record in records} == {2.0}
    assert {record.settings for record in records} == {"tuned"}
    assert max(sizes) < 150  # of 15 images a class, a fifth is held out; no split has the test images beside
    assert study.score({"method.selection": 2.0}) == score  # finished runs are not done again


def test_closeness_by_hand() -> None:
    record = RunRecord("id", "s", "m", "d", "n", 0, {}, status="done")
    record.metrics = {"acc_forget_test": 0.2, "retrain_acc_forget_test": 0.0}
    with pytest.raises(ConfigError, match="retrain_reference"):
        closeness_to_retraining(record)
    record.metrics |= {"acc_retain_test": 0.7, "retrain_acc_retain_test": 0.8}
    assert closeness_to_retraining(record) == pytest.approx(0.8 * 0.9)
    record.status = "diverged"
    assert closeness_to_retraining(record) == 0


def test_a_study_refuses_test_data_and_methods_without_ranges(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tuning reads no test data"):
        study_of(tmp_path, "dataset.validation_share=0")
    with pytest.raises(ConfigError, match=r"method=logit_mask.*search="):
        study_of(tmp_path, "method=logit_mask")


def test_a_users_own_method_is_tuned_by_the_ranges_it_states(tmp_path: Path, scored: list[dict[str, Any]]) -> None:
    base = study_of(tmp_path)
    study = Study(replace(base.config, method=Own()), base.forget)
    assert study.ranges == {
        "method.selection": ((1.0, 9.0), False),
        "method.rounds": ((1, 4), True),
        "method.train.lr": ((1e-5, 0.5), False),
    }
    winner = tune(study, 4)
    assert all(isinstance(one["method.rounds"], int) and 1 <= one["method.rounds"] <= 4 for one in scored)
    assert winner.values.keys() == study.ranges.keys()
    assert tuned_values_path(f"{tmp_path}/store", "own", "digits", "allcnn_tiny").is_file()


@pytest.fixture
def won(tmp_path: Path) -> Path:
    values: dict[str, float | int] = {"method.k": 3, "method.train.lr": 0.004}
    winner = TunedValues("cf_k-digits-x", values, 0.9, [[8], [7, 9]], seed=100, trials=20, seconds=5.0)
    winner.write(tuned_values_path(f"{tmp_path}/store", "cf_k", "digits", "allcnn_slim"))
    return tmp_path


def test_settings_tuned_uses_the_winner_and_says_so(won: Path) -> None:
    config = compose(["method=cf_k", "settings=tuned", *places(won)])
    assert (config.method.k, config.method.train.lr) == (3, 0.004)  # type: ignore[attr-defined]
    assert isinstance(config.method.k, int)  # type: ignore[attr-defined]
    assert (config.method.settings, config.method.study) == ("tuned", "cf_k-digits-x")
    assert config.run_id != compose(["method=cf_k", *places(won)]).run_id
    by_hand = compose(["method=cf_k", "method.k=3", "method.train.lr=0.004", *places(won)])
    assert (by_hand.run_id, by_hand.method.settings) == (config.run_id, "user")
    validate(config)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["forget.classes=[7]"], r"study cf_k-digits-x .* on classes \[7\]"),
        (["forget.sequence=[[0],[9]]"], r"on classes \[9\]"),
        (["seed=100"], "with this seed"),
        (["model=allcnn_tiny"], "does not exist; run `unsir-bench tune`"),
        (["method.k=2"], "not beside settings=tuned"),
        (["settings=other"], "settings=other: must be one of"),
        (["settings=published"], "method=cf_k has no values of its authors"),
    ],
)
def test_a_run_that_would_report_what_was_tuned_on_is_refused(won: Path, words: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        validate(
            compose(["method=cf_k", *places(won), *([] if "settings" in words[0] else ["settings=tuned"]), *words])
        )


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"study": 1, "values": {"method.k": "x"}, "score": 1}',
        "[1]",
        '{"study": "s", "values": {"seed": 1}, "score": 1}',
    ],
)
def test_a_damaged_file_of_values_is_named(won: Path, content: str) -> None:
    path = tuned_values_path(f"{won}/store", "cf_k", "digits", "allcnn_slim")
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"holds no tuned values .*; remove it and tune again"):
        compose(["method=cf_k", "settings=tuned", *places(won)])


@pytest.mark.parametrize("word", ["forget=pair", "forget.classes=[1]", "+forget.kind=samples"])
def test_words_that_say_what_to_forget_are_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune_command(["method=ssd", word]) == 1
    assert f"{word}: give --forget 1,2 instead" in capsys.readouterr().err


def test_the_command_prints_what_was_tried_and_writes_it(
    tmp_path: Path, scored: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["method=ssd,logit_mask", "--trials", "3", "--forget", "3", *TINY, *places(tmp_path)]
    assert tune_command(words) == 1  # logit_mask has nothing to choose
    shown = capsys.readouterr()
    assert "best of 3 trials" in shown.out
    assert "logit_mask" in shown.err
    [table] = (tmp_path / "tuning").glob("ssd-digits-allcnn_tiny-*.md")
    assert len(table.read_text().splitlines()) == 2 + 3
    with opened(study_of(tmp_path, forget=((3,),))) as opt:
        assert len(finished(opt)) == 3
