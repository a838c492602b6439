"""The record of a run: read as it was written, with care, and told finished from not."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.digits_record import RUN, record
from unsir_bench.records import (
    RECORD_FILE,
    RunRecord,
    digest,
    finished_record,
    records_below,
)
from unsir_bench.versions import SCHEMA_VERSION


def test_what_is_written_is_what_is_read(tmp_path: Path):
    before = record()
    after = RunRecord.read(before.write(tmp_path / "new" / "folder"))
    assert after == before
    assert after.metrics == {"acc_retain_test": 0.5, "steps": 7, "speedup": None}
    assert after.started <= after.finished


def test_the_file_is_flat_json_with_its_schema_version(tmp_path: Path):
    content = json.loads(record().write(tmp_path).read_text(encoding="utf-8"))
    assert content["schema_version"] == SCHEMA_VERSION
    assert content["status"] == "done"


def test_a_record_says_failed_until_told_otherwise():
    blank = RunRecord(run_id="r", sweep="s", method="m", dataset="d", model="n", seed=0, config={})
    assert blank.status == "failed"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_costs_no_other_result(tmp_path: Path, value: float):
    whole = record(metrics={"acc": value, "other": 0.5}, config={"train": {"lr": value, "rates": [1.0, value]}})
    written = RunRecord.read(whole.write(tmp_path))
    assert written.metrics == {"acc": None, "other": 0.5}
    assert written.metric_notes == {"acc": f"it came to {value}"}
    assert written.config["train"] == {"lr": str(value), "rates": [1.0, str(value)]}


def test_what_is_no_number_in_a_step_of_a_sequence_costs_no_record(tmp_path: Path):
    steps = [{"classes": [0], "metrics": {"acc": math.nan, "other": 0.5}}]
    written = RunRecord.read(record(metrics={"acc": math.nan}, details={"steps": steps}).write(tmp_path))
    assert written.details["steps"] == [{"classes": [0], "metrics": {"acc": None, "other": 0.5}}]


@pytest.mark.parametrize("name", ["a\u200eb", "\x1b[31mred", "plain"])
def test_what_is_added_to_a_record_leaves_all_else_as_it_was_written(tmp_path: Path, name: str):
    """A reader sees escapes and configurations with fields added since; neither is written back."""
    config = {"name": "unsir", "noise": {"lr": 0.1}, "retain_selection": "random", "words": [name]}
    details = {"nearest": {name: [name]}, "old": 1}
    path = record(config={"method": config}, forget_names=[name, "b"], details=details).write(tmp_path)
    then = json.loads(path.read_text(encoding="utf-8"))
    found = RunRecord.read(path)
    assert (found.forget_names[0] == name) == (name == "plain") and found.config != then["config"]
    found.metrics["added"] = 0.25
    found.details |= {"new": "\u200e", "old": 2}
    found.forget_names.append("c")
    found.write(tmp_path)
    now = json.loads(path.read_text(encoding="utf-8"))
    assert now["details"] == {"nearest": {name: [name]}, "old": 2, "new": "\u200e"}
    assert (now["forget_names"], now["metrics"]["added"]) == ([name, "b", "c"], 0.25)
    same = then.keys() - {"details", "forget_names", "metrics", "digest"}
    assert {key: now[key] for key in same} == {key: then[key] for key in same}
    assert RunRecord.read(path).digest == now["digest"] == digest(now)


# Reading


def rewritten(folder: Path, **changes: Any) -> Path:
    path = record().write(folder)
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    content = {key: value for key, value in content.items() if value != "gone"}
    path.write_text(json.dumps({**content, "digest": digest(content)}))
    return path


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, None, "1", True, "gone"])
def test_another_schema_version_is_refused_by_name(tmp_path: Path, version: object):
    path = rewritten(tmp_path, schema_version=version)
    shown = None if version == "gone" else version
    with pytest.raises(ValueError, match=f"schema version {shown} is not {SCHEMA_VERSION}") as caught:
        RunRecord.read(path)
    assert str(path) in str(caught.value)


DAMAGE = {
    "cut short": b'{"schema_version": 1, "run_id": "a',
    "empty": b"",
    "no object": b"[1, 2]",
    "no text": b"\xff\xfe\x00",
    "an object of other fields": b'{"schema_version": 1}',
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_raises_the_promised_error_and_is_not_finished(tmp_path: Path, damage: str):
    (tmp_path / RECORD_FILE).write_bytes(DAMAGE[damage])
    with pytest.raises(ValueError):
        RunRecord.read(tmp_path / RECORD_FILE)
    assert finished_record(tmp_path) is None


@pytest.mark.parametrize("started", ["yesterday", "", "2026-13-01"])
def test_a_record_that_began_at_no_time_is_refused(tmp_path: Path, started: str):
    """Whether images changed since then decides whether the run is finished."""
    with pytest.raises(ValueError, match=f"started={started} is no time in ISO 8601"):
        RunRecord.read(rewritten(tmp_path / RUN, status="done", started=started))
    assert finished_record(tmp_path / RUN) is None


def test_a_field_of_a_later_release_is_passed_over(tmp_path: Path):
    assert RunRecord.read(rewritten(tmp_path, added_later=1)).run_id == record().run_id


# Finished or not


@pytest.mark.parametrize(
    ("status", "finished"), [("done", True), ("skipped", True), ("diverged", True), ("failed", False)]
)
def test_all_but_a_failed_run_is_finished(tmp_path: Path, status: str, finished: bool):
    record(status=status).write(tmp_path / RUN)
    found = finished_record(tmp_path / RUN)
    assert (found is not None) == finished
    if found is not None:
        assert found.status == status


def test_the_folder_of_a_finished_run_may_be_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    record(status="done").write(tmp_path / RUN)
    monkeypatch.chdir(tmp_path / RUN)
    assert finished_record(Path()) is not None


@pytest.mark.parametrize("change", [{"schema_version": SCHEMA_VERSION + 1}, {"run_id": "gone"}, {"status": "running"}])
def test_a_record_this_release_cannot_trust_is_not_finished(tmp_path: Path, change: dict[str, Any]):
    rewritten(tmp_path / RUN, **change)
    assert finished_record(tmp_path / RUN) is None


@pytest.mark.parametrize(
    ("field", "value"), [("metrics", {"acc_forget_test": 0.3}), ("status", "skipped"), ("seed", 4), ("later", 1)]
)
def test_a_record_that_was_edited_is_neither_read_nor_finished(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, field: str, value: object
):
    path = record().write(tmp_path / RUN)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ValueError, match="does not match its digest"):
        RunRecord.read(path)
    assert finished_record(tmp_path / RUN) is None
    assert str(path) in caplog.text and "digest" in caplog.text


def test_another_layout_of_the_same_json_is_the_same_record(tmp_path: Path):
    path = record(details={"by_class": {10: 0.5, 9: (1, 2)}}).write(tmp_path / RUN)
    before = RunRecord.read(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(content.items())), ensure_ascii=False), encoding="utf-8")
    assert RunRecord.read(path) == before
    assert before.details == {"by_class": {"10": 0.5, "9": [1, 2]}}


def test_the_digest_is_the_hash_of_the_canonical_json(tmp_path: Path):
    content = json.loads(record().write(tmp_path).read_text(encoding="utf-8"))
    told = content.pop("digest")
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert told == hashlib.sha256(canonical.encode("ascii")).hexdigest()


def test_a_record_of_version_1_is_read_without_a_digest_and_not_finished(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = rewritten(tmp_path / RUN, schema_version=1, references="gone")
    path.write_text(json.dumps({key: v for key, v in json.loads(path.read_text()).items() if key != "digest"}))
    assert RunRecord.read(path).metrics == record().metrics
    assert finished_record(tmp_path / RUN) is None
    assert "schema version 1 carries no digest" in caplog.text


def test_a_record_in_another_runs_folder_is_not_finished(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    record().write(tmp_path / "another")
    assert finished_record(tmp_path / "another") is None
    assert f"it is of the run {RUN}" in caplog.text


@pytest.mark.parametrize("value", [-0.01, 1.01, 2, 1e300])
def test_an_accuracy_that_is_no_fraction_is_named(tmp_path: Path, value: float):
    for name in ("acc_forget_test", "original_acc_retain_train"):
        path = rewritten(tmp_path, metrics={name: value, "unlearn_seconds": 7.5})
        with pytest.raises(ValueError, match=f"{name}="):
            RunRecord.read(path)
    assert RunRecord.read(rewritten(tmp_path, metrics={"gap_acc_forget_test": -0.5, "acc_forget_test": 1}))


@pytest.mark.parametrize("name", ["dataset", "model", "method", "train", "forget", "metrics", "hardware", "tracker"])
def test_a_section_of_the_configuration_may_be_absent_but_not_null(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=f"config.{name} is no section"):
        RunRecord.read(rewritten(tmp_path, config={name: None}))
    assert RunRecord.read(rewritten(tmp_path, config={})).config == {}


def test_a_folder_in_the_records_place_is_set_aside_when_the_run_is_done_again(tmp_path: Path):
    (tmp_path / RUN / RECORD_FILE / "inside").mkdir(parents=True)
    assert finished_record(tmp_path / RUN) is None
    record().write(tmp_path / RUN)
    assert finished_record(tmp_path / RUN) is not None
    assert [path.name.startswith(RECORD_FILE) for path in (tmp_path / RUN / "damaged").iterdir()] == [True]


def test_a_link_in_the_records_place_is_replaced_and_not_written_through(tmp_path: Path):
    (tmp_path / RUN).mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / RUN / RECORD_FILE).symlink_to(tmp_path / "mine")
    assert finished_record(tmp_path / RUN) is None
    record().write(tmp_path / RUN)
    assert finished_record(tmp_path / RUN) is not None and (tmp_path / "mine").read_text() == "mine"


def test_control_characters_of_a_record_come_out_as_words(tmp_path: Path):
    title = "\x1b]0;owned\x07 \x9b31m \u202ered\ud800"
    found = RunRecord.read(record(reason=title, metric_notes={title: "two\nlines\tand a tab"}).write(tmp_path))
    assert found.reason == r"\x1b]0;owned\x07 \x9b31m \u202ered\ud800"
    assert found.metric_notes == {found.reason: "two\nlines\tand a tab"}


def test_a_folder_without_a_record_is_not_finished(tmp_path: Path):
    assert finished_record(tmp_path) is None
    assert finished_record(tmp_path / "nowhere") is None


# A sweep's folder


def test_records_of_a_sweep_come_in_order_of_run_id(tmp_path: Path):
    for run_id in ("c", "a", "b"):
        record(run_id=run_id).write(tmp_path / run_id)
    (tmp_path / "unfinished").mkdir()
    record(run_id="deeper").write(tmp_path / "a" / "nested")
    assert [(path.parent.name, one.run_id) for path, one in records_below(tmp_path)] == [
        ("a", "a"),
        ("b", "b"),
        ("c", "c"),
    ]


def test_an_unreadable_record_is_warned_of_and_the_others_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    record(run_id="a").write(tmp_path / "a")
    rewritten(tmp_path / "b", schema_version=SCHEMA_VERSION + 1)
    record(run_id="c").write(tmp_path / "c")
    assert [one.run_id for _, one in records_below(tmp_path)] == ["a", "c"]
    assert str(tmp_path / "b" / RECORD_FILE) in caplog.text
    assert f"schema version {SCHEMA_VERSION + 1}" in caplog.text
