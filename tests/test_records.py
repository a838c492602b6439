"""The record of a run: written whole, read with care, and told finished from not."""

import hashlib
import json
import math
import os
import stat
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from unsir_bench.baselines.eu_k import ExactUnlearningK
from unsir_bench.baselines.scrub import Scrub

from unsir_bench.config_fields import default_of
from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.digits import Digits
from unsir_bench.data.folders import ImageFolder
from unsir_bench.records import (
    ADDED_TO_AUGMENT,
    ADDED_TO_DATASETS,
    ADDED_TO_FOLDERS,
    ADDED_TO_HARDWARE,
    ADDED_TO_METHODS,
    ADDED_TO_NOISE,
    ADDED_TO_RECIPES,
    RECORD_FILE,
    RunRecord,
    digest,
    finished_record,
    records_below,
)
from unsir_bench.runtime.files import write_atomic
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.unsir import NoiseConfig
from unsir_bench.versions import SCHEMA_VERSION

RUN = "digits-unsir-0-abc"


def record(**changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "run_id": RUN,
        "sweep": "runs",
        "method": "unsir",
        "dataset": "digits",
        "model": "allcnn",
        "seed": 3,
        "config": {"train": {"lr": 0.1}},
        "status": "done",
        "metrics": {"acc_retain_test": 0.5, "steps": 7, "speedup": None},
        "forget_names": ["naïve ± 名"],
    }
    return RunRecord(**{**fields, **changes})


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


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
):
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "file.txt"
    write_atomic(path, "old")
    monkeypatch.setattr(os if step == "fsync" else Path, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new and longer")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_name_never_holds_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At the moment before the rename the name still has the old text, and the new text is already whole."""
    path = tmp_path / "file.txt"
    write_atomic(path, "old")
    seen: list[tuple[str, str]] = []
    really_replace = Path.replace

    def spy(self: Path, target: Path) -> Path:
        seen.append((Path(target).read_text(), self.read_text()))
        return really_replace(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    write_atomic(path, "new")
    assert seen == [("old", "new")]
    assert path.read_text() == "new"


def test_a_written_file_can_be_read_by_others(tmp_path: Path):
    write_atomic(tmp_path / "file.txt", "text")
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o644


def test_text_is_utf8_whatever_the_locale(tmp_path: Path):
    """A table's ± and – must not fail where the locale knows ASCII only."""
    program = (
        "import sys, pathlib, unsir_bench.records as r; r.write_atomic(pathlib.Path(sys.argv[1]), '\\xb1 \\u2013')"
    )
    subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", program, str(tmp_path / "table.md")],
        env={**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
        cwd=Path(__file__).parents[1],
        check=True,
    )
    assert (tmp_path / "table.md").read_bytes() == "± –".encode()


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


def test_an_older_record_is_of_the_setting_that_a_field_added_since_has_by_default(tmp_path: Path) -> None:
    older = {"train": {"epochs": 3, "augment": {"flip": True}}, "method": {"impair": {"augment": {"flip": False}}}}
    newer = {
        "train": {"epochs": 3, "augment": {**ADDED_TO_AUGMENT, "flip": True, "alternate": False}},
        "method": {"impair": {"augment": {"flip": False, "alternate": True}}},
    }
    for config, alternate in ((older, False), (newer, True)):
        found = RunRecord.read(record(config=config).write(tmp_path))
        assert found.config["train"] == newer["train"]
        expected = {**ADDED_TO_AUGMENT, "flip": False, "alternate": alternate}
        assert found.config["method"]["impair"]["augment"] == expected


def test_every_field_added_later_is_known_with_its_default() -> None:
    known = {
        Augmentation: ADDED_TO_AUGMENT,
        Recipe: ADDED_TO_RECIPES,
        NoiseConfig: ADDED_TO_NOISE,
        ExactUnlearningK: ADDED_TO_METHODS["eu_k"],
        Scrub: ADDED_TO_METHODS["scrub"],
        ImageFolder: ADDED_TO_FOLDERS | ADDED_TO_DATASETS,
        Digits: ADDED_TO_DATASETS,
        HardwareConfig: ADDED_TO_HARDWARE,
    }
    for cls, added in known.items():
        marked = {field.name: default_of(field) for field in fields(cls) if field.metadata.get("hashed_if_not_default")}
        assert marked == added


def test_older_methods_are_of_the_settings_that_options_added_since_have_by_default(tmp_path: Path) -> None:
    older = {
        "method": {"name": "eu_k", "train": {}},
        "other": {"name": "cf_k", "train": {}},
        "unsir": {"noise": {"steps": 4}},
        "neggrad_plus": {"name": "neggrad_plus", "train": {}},
        "delete": {"name": "delete", "train": {}},
    }
    found = RunRecord.read(record(config=older).write(tmp_path)).config
    assert found["method"] == {"name": "eu_k", "train": {}, "reset_norms": True, "freeze_bn_stats": True}
    assert found["other"] == {"name": "cf_k", "train": {}, "freeze_bn_stats": True}
    assert found["neggrad_plus"]["forwards"] == "mixed" and found["delete"]["mask"] == "own_class"
    assert found["unsir"]["noise"] == {"steps": 4, "one_per_channel": False}


def test_an_older_recipe_watched_the_training_loss(tmp_path: Path) -> None:
    older = {"train": {"epochs": 3, "plateau_patience": 3}, "method": {"impair": {"plateau_patience": 1}}}
    found = RunRecord.read(record(config=older).write(tmp_path)).config
    assert found["train"] == {"epochs": 3, "plateau_patience": 3, "plateau_watch": "train", "held_out_share": 0.02} | {
        "decay_epochs": [],
        "decay_factor": 0.1,
        "cosine_warmup_share": 0.0,
        "privacy": None,
    }
    assert found["method"]["impair"]["plateau_watch"] == "train" and "plateau_watch" not in found["method"]


def test_an_older_record_does_not_claim_the_number_of_images_that_a_share_overruled(tmp_path: Path) -> None:
    older = {"method": {"retain_per_class": 500, "retain_share": 0.2}, "other": {"retain_per_class": 7}}
    found = RunRecord.read(record(config=older).write(tmp_path)).config
    assert found == {"method": {"retain_per_class": None, "retain_share": 0.2}, "other": {"retain_per_class": 7}}
