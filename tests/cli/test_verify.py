"""`unsir-bench verify`: a whole submission is accepted, and one with any edited number is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unsir_bench.cli import verify
from unsir_bench.cli.main import _status
from unsir_bench.cli.recorded_config import config_of
from unsir_bench.cli.reproduce import MEASURED, _told
from unsir_bench.errors import NotRecordedError
from unsir_bench.records import RunRecord, digest
from unsir_bench.report.consistency import _contradictions
from unsir_bench.unlearning.unsir import Unsir

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "digits_run" / "record.json"
Call = Callable[..., tuple[int, str]]


def content() -> dict[str, Any]:
    return dict(json.loads(GOLDEN.read_text(encoding="utf-8")))


def signed(changed: dict[str, Any]) -> dict[str, Any]:
    """With the digest that a careful forger would write."""
    return {**changed, "digest": digest(changed)}


def submission(folder: Path, *contents: dict[str, Any]) -> Path:
    path = folder / "submissions" / "mine" / "records.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{json.dumps(each)}\n" for each in contents), encoding="utf-8")
    return path


@pytest.fixture
def checked(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*words: object) -> tuple[int, str]:
        status = _status(["verify", *map(str, words)])
        return status, capsys.readouterr().out

    return call


def test_a_whole_record_is_accepted_by_its_file_and_by_its_folder(tmp_path: Path, checked: Call) -> None:
    path = submission(tmp_path, content())
    for place in (path, path.parent, tmp_path):
        status, said = checked(place)
        assert (status, said.splitlines()[-1]) == (0, "1 record, 0 faults: accepted")


def test_an_edited_number_is_refused(tmp_path: Path, checked: Call) -> None:
    edited = content()
    edited["metrics"]["acc_retain_test"] += 1 / 358
    status, said = checked(submission(tmp_path, edited))
    assert status == 1 and "does not match its digest" in said and "records.jsonl:1" in said


def test_an_edited_number_is_refused_though_its_digest_is_computed_anew(tmp_path: Path, checked: Call) -> None:
    edited = content()
    edited["metrics"]["acc_retain_test"] += 1 / 358
    status, said = checked(submission(tmp_path, signed(edited)))
    assert status == 1
    assert f"gap_acc_retain_test is {content()['metrics']['gap_acc_retain_test']}" in said


def test_every_number_but_costs_is_found_by_the_check_or_by_doing_the_run_again() -> None:
    true = RunRecord.read(GOLDEN)
    costs, found_at_once, missed = [], [], []
    for name, value in true.metrics.items():
        assert value is not None
        other = value - 0.01 if value >= 0.5 else value + 0.01
        edited = RunRecord.of(signed({**content(), "metrics": {**true.metrics, name: other}}))
        if list(verify.complaints(edited)):
            found_at_once.append(name)
        elif any(name in words for words in verify.unlike(edited, true)):
            continue
        else:
            (costs if any(part in name for part in MEASURED) else missed).append(name)
    assert missed == []
    assert {"acc_retain_test", "retrain_acc_forget_test", "original_acc_retain_train", "tow", "speedup_vs_retrain",
            "gap_acc_forget_train", "unlearn_seconds", "retain_samples_touched"} <= set(found_at_once)  # fmt: skip
    assert set(costs) == {
        "peak_memory_bytes", "evaluation_seconds", "noise_seconds", "impair_seconds", "repair_seconds"
    }  # fmt: skip


def test_the_speed_up_of_a_sequence_follows_from_all_its_retrainings_and_from_the_last_in_older_records() -> None:
    def contradicted(**metrics: float) -> bool:
        told = {"retrain_seconds": 10.0, "unlearn_seconds": 30.0, **metrics}
        return any("speedup" in words for words in _contradictions(told))

    assert not contradicted(retrain_seconds_so_far=30.0, speedup_vs_retrain=1.0)
    assert contradicted(retrain_seconds_so_far=30.0, speedup_vs_retrain=1 / 3)
    assert not contradicted(speedup_vs_retrain=1 / 3)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "failed": ({"status": "failed"}, "only finished runs count"),
    "version": ({"schema_version": 1, "digest": ""}, "carries no digest"),
    "forget data": ({"access": {"declared": ["retain_subset"], "forget": {"samples": 5}, "retain": {"samples": 540}}},
                    "it read 5 forget samples without declaring to"),
    "changed files": ({"environment": {**content()["environment"], "dirty": True}}, "made by changed files"),
    "another seed": ({"config": {**content()["config"], "seed": 1}}, "its configuration is the run"),
    "no command": ({"command": ""}, "no command that repeats it"),
}  # fmt: skip


@pytest.mark.parametrize("why", CHANGES)
def test_what_no_run_of_this_code_writes_is_refused(tmp_path: Path, checked: Call, why: str) -> None:
    changes, words = CHANGES[why]
    changed = {**content(), **changes}
    status, said = checked(submission(tmp_path, changed if why == "version" else signed(changed)))
    assert status == 1 and words in said


RELABELLED: dict[str, Any] = {
    "method": "mine", "dataset": "cifar10", "model": "resnet18", "seed": 7, "forget_set": "four", "forget_classes": [1],
    "forget_names": ["1"], "forget_steps": [[0], [1]],
}  # fmt: skip


@pytest.mark.parametrize("field", RELABELLED)
def test_a_record_that_calls_its_run_something_else_is_refused(tmp_path: Path, checked: Call, field: str) -> None:
    """Ranks and tables go by these, and the run's id by the configuration alone."""
    status, said = checked(submission(tmp_path, signed({**content(), field: RELABELLED[field]})))
    assert status == 1 and f"{field} is {RELABELLED[field]}, and its configuration" in said


@pytest.mark.parametrize("declared", [[], ["retain_x"], ["retain_subset", "nothing"], ["forget_data", "retain_subset"]])
def test_less_or_other_access_than_the_method_needs_is_refused(
    tmp_path: Path, checked: Call, declared: list[str]
) -> None:
    """Methods of an earlier release may have declared more."""
    changed = signed({**content(), "access": {**content()["access"], "declared": declared}})
    status, said = checked(submission(tmp_path, changed))
    enough = declared == ["forget_data", "retain_subset"]
    assert (status == 0) is enough
    assert (f"access.declared is {declared}, and its method needs ['retain_subset']" in said) is not enough


FORGED: dict[str, dict[str, Any]] = {
    "guarantees.exact": {"guarantees": {"exact": 1}},
    "guarantees.epsilon": {"guarantees": {"epsilon": 0.0}},
    "access.retain": {"access": {**content()["access"], "retain": {"samples": 540, "reads": 540}}},
    "details.samples": {"details": {**content()["details"], "samples": {}}},
    "details.stages": {"details": {**content()["details"], "stages": []}},
}


@pytest.mark.parametrize("what", FORGED)
def test_what_is_no_metric_is_compared_with_the_run_done_again(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    true, forged = RunRecord.read(GOLDEN), RunRecord.of(signed({**content(), **FORGED[what]}))
    assert any(words.startswith(f"{what} is ") for words in verify.unlike(forged, true))
    assert list(verify.unlike(true, true)) == []
    assert (_told(forged, true), _told(true, true)) == (1, 0)
    assert f"different: {what}: " in capsys.readouterr().out


def test_another_cpu_gives_the_same_promises_and_seconds_are_nobodys() -> None:
    true = RunRecord.read(GOLDEN)
    here = replace(true, environment={**true.environment, "cpu": "another"}, guarantees={"epsilon": 1.0, "exact": 0})
    for epsilon, refused in ((1.01, False), (0.5, True), (None, True)):
        told = replace(here, guarantees={"epsilon": epsilon, "exact": 0}, environment=true.environment)
        assert bool(list(verify.unlike(told, here))) is refused
    slower = {**true.details, "metric_seconds": {"accuracy": 9.0}, "seconds_caution": "stopped"}
    assert list(verify.unlike(true, replace(true, details=slower))) == []
    cautioned = {**true.details, "mia_loss_caution": "few samples"}
    assert list(verify.unlike(true, replace(true, details=cautioned))), "a caution was taken out of the record"


@pytest.mark.parametrize("device", ["NVIDIA H200", "cpu"])
def test_hardware_that_was_chosen_automatically_is_what_the_record_ran_on(
    tmp_path: Path, checked: Call, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    made = content()
    made["config"]["hardware"] |= {"name": "auto", "accelerator": "auto"}
    made["environment"]["device"] = device
    config = config_of(RunRecord.read(GOLDEN))
    config.hardware.accelerator = "auto"
    with monkeypatch.context() as there:
        there.setattr("torch.cuda.is_available", lambda: device != "cpu")
        made["run_id"] = config.run_id
    status, said = checked(submission(tmp_path, signed(made)))
    assert (status, said.splitlines()[-1]) == (0, "1 record, 0 faults: accepted")
    assert ("not repeated here: 1 setting is wrong" in said) is (device != "cpu")


def test_records_that_contradict_each_other_are_refused(tmp_path: Path, checked: Call) -> None:
    other = content()
    metrics = {name: value for name, value in other["metrics"].items() if not name.startswith(("gap", "tow"))}
    details = {name: value for name, value in other["details"].items() if "by_class" not in name}
    other = signed({**other, "metrics": {**metrics, "retrain_acc_retain_test": 300 / 358}, "details": details})
    status, said = checked(submission(tmp_path, content(), other))
    assert status == 1
    assert f"measured {content()['metrics']['retrain_acc_retain_test']} of the same model" in said
    assert "stands there 2 times" in said


def test_a_runs_own_folder_is_checked_alone(tmp_path: Path, checked: Call) -> None:
    for name, changed in (("good", content()), ("bad", {**content(), "digest": ""})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(json.dumps(changed), encoding="utf-8")
    assert [checked(tmp_path / name)[0] for name in ("good", "bad")] == [0, 1]


def test_a_runs_folder_may_be_the_working_directory(
    tmp_path: Path, checked: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "record.json").write_text(json.dumps(content()), encoding="utf-8")
    monkeypatch.chdir(tmp_path / "run")
    status, said = checked(".")
    assert (status, said.splitlines()[-1]) == (0, "1 record, 0 faults: accepted")


def test_a_folder_without_records_is_told_from_a_good_one(tmp_path: Path, checked: Call) -> None:
    assert checked(tmp_path)[0] == 2
    status, said = checked(submission(tmp_path, content()), tmp_path / "typo")
    assert status == 2 and said.startswith(f"no records in {tmp_path / 'typo'}: name folders")


def test_one_record_is_done_again_and_a_number_that_it_does_not_give_is_refused(
    tmp_path: Path, checked: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = RunRecord.read(GOLDEN)
    monkeypatch.setattr(verify, "done_again", lambda record, moved=None: true)
    path = submission(tmp_path, content())
    assert checked(path, "--reproduce")[0] == 0
    edited = content()
    edited["metrics"]["impair_steps"] += 1
    path.write_text(json.dumps(signed(edited)), encoding="utf-8")
    assert checked(path)[0] == 0, "nothing else of the record tells it"
    status, said = checked(path, "--reproduce")
    assert status == 1 and "impair_steps is 38, and done again 37" in said


@pytest.mark.parametrize("error", [NotRecordedError("the disk is full"), OSError("the disk is full")])
def test_what_this_machine_cannot_do_refuses_no_record(
    tmp_path: Path, checked: Call, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(verify, "done_again", full)
    status, said = checked(submission(tmp_path, content()), "--reproduce")
    assert status == 2 and "no record was done again: the disk is full" in said and "refused" not in said


def test_a_run_that_fails_on_this_machine_refuses_no_record(
    tmp_path: Path, checked: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError("no room for the noise")

    monkeypatch.setattr(Unsir, "unlearn", too_large)
    status, said = checked(submission(tmp_path, content()), "--reproduce")
    assert status == 2 and "failed here: MemoryError: no room for the noise" in said and "refused" not in said


def test_on_another_cpu_rounding_is_allowed_and_five_points_are_not() -> None:
    true = RunRecord.read(GOLDEN)
    here = replace(true, environment={**true.environment, "cpu": "another"})
    for change, refused in ((0.01, False), (-0.2, True)):
        told = replace(true, metrics={**true.metrics, "acc_retain_test": 0.9413407821229051 + change})
        assert bool(list(verify.unlike(told, here))) is refused
        assert list(verify.unlike(told, true)), "the same CPU gives the same bits"


@pytest.mark.slow
def test_the_committed_run_is_really_done_again(tmp_path: Path, checked: Call) -> None:
    status, said = checked(submission(tmp_path, content()), "--reproduce")
    assert status == 0, said
    assert "doing unsir_slim-digits-allcnn_slim-single-s0-1deefa74cc again" in said
