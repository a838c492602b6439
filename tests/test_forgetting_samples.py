"""Runs that forget samples of all classes: what is measured, what is skipped, what is shared as a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from unsir_bench import compose, run
from unsir_bench.cli.split import split_command
from unsir_bench.records import RunRecord
from unsir_bench.report.forget_words import forget_label

TINY = (
    "dataset=digits", "dataset.subset=30", "model.width=4", "train.epochs=2", "tracker=none", "hardware=cpu",
    "metrics=standard", "metrics.floor=false",
)  # fmt: skip
DRAWN = ("forget=random_samples", "forget.share=0.2")


def record_of(folder: Path, *words: str) -> RunRecord:
    chosen = () if any(word.startswith("forget=") for word in words) else DRAWN
    return run(compose([*TINY, *chosen, f"outputs={folder}", f"store.root={folder}/store", *words]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples")


def test_a_class_that_was_forgotten_beside_samples_is_no_retained_one(folder: Path) -> None:
    record = record_of(folder, "forget=sequence", "forget.sequence=[[0],{count:3}]", "method=logit_mask")
    assert record.status == "skipped"  # it needs classes
    record = record_of(folder, "forget=sequence", "forget.sequence=[[0],{count:3}]", "method=original")
    first, last = (step["metrics"] for step in record.details["steps"])
    # The original calls some zeros zero: an answer of the forgotten class, and none that is spread over the others.
    assert first["forget_answered_any_forget_class"] == first["acc_forget_test"] > 0
    assert last["forget_answered_any_forget_class"] == first["forget_answered_any_forget_class"]
    assert len(record.details["forget_predictions"]) == len(record.details["retrain_forget_predictions"]) == 9


@pytest.mark.parametrize("sequence", ["[[0],{count:60}]", "[{count:60},[0]]"])
def test_the_loss_attack_is_on_members_of_all_classes_after_a_class_and_samples(folder: Path, sequence: str) -> None:
    record = record_of(folder, "forget=sequence", f"forget.sequence={sequence}", "method=original")
    members = record.details["samples"]["forget_train"]
    # Each class has 30 training and 30 test samples, so that every member has a partner of its class.
    assert record.details["mia_samples_per_side"] == record.details["retrain_mia_samples_per_side"] == members


def test_retraining_on_the_rest_is_measured_and_what_needs_classes_is_null_with_a_reason(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = record_of(folder, "method=retrain")
    assert record.status == "done", record.error
    assert record.forget_classes == [] and record.details["samples"] == {
        "retain_train": 240, "forget_train": 60, "retain_test": 300, "forget_test": 0,
    }  # fmt: skip
    for name in ("acc_forget_train", "acc_retain_test", "mia_loss_accuracy"):
        assert record.metrics[name] is not None, record.metric_notes
    assert record.metrics["gap_acc_forget_train"] == record.metrics["weight_distance_to_retrain_sum"] == 0
    for name in ("acc_forget_test", "forget_answered_any_forget_class", "relearn_batches"):
        assert record.metrics[name] is None
    assert "forget sample" in record.metric_notes["forget_answered_any_forget_class"]
    assert all(record.metric_notes.get(name) for name, value in record.metrics.items() if value is None)
    assert forget_label(record) == "random_samples (0.2, drawn by seed)"
    said = [line for line in caplog.messages if "null because" in line]
    assert len(said) == len(set(record.metric_notes.values())) < len(record.metric_notes)
    for name, reason in record.metric_notes.items():
        [line] = [line for line in said if f"null because {reason}: " in line]
        assert name in line.partition(f"{reason}: ")[2].split(", ")


def test_the_log_says_which_numbers_need_care(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    few = ("forget=random_samples", "forget.share=0.03", "retrain_reference=false", "metrics.relearn.cap=0")
    record = record_of(folder, "method=original", *few)
    assert record.status == "done", record.error
    assert record.details["mia_samples_per_side"] == record.details["original_mia_samples_per_side"] == 9
    [line] = [line for line in caplog.messages if "with care" in line]
    assert "mia_loss" in line and "only 9 samples a side" in line
    assert record.cautions == {"mia_loss": record.details["mia_loss_caution"]}


@pytest.mark.parametrize("method", ["unsir", "logit_mask", "boundary_expand", "svd_projection"])
def test_methods_of_whole_classes_are_skipped_by_name(folder: Path, method: str) -> None:
    record = record_of(folder, f"method={method}", "metrics=fast")
    assert record.status == "skipped" and "forgets whole classes" in (record.reason or "")


@pytest.mark.parametrize(
    "method", ["finetune", "ssd", "scrub", "salun", "amnesiac", "amnesiac_subtract", "neggrad_plus"]
)
def test_methods_of_samples_run(folder: Path, method: str) -> None:
    record = record_of(folder, f"method={method}", "metrics=fast")
    assert record.status == "done", record.error
    assert record.access["forget"]["samples"] in (0, 60)


def test_a_written_split_forgets_the_same_samples_in_plain_torch_and_in_a_run(folder: Path) -> None:
    file = folder / "forget.json"
    assert split_command(["dataset=digits", "dataset.subset=30", *DRAWN, "--output", str(file)]) == 0
    listed = torch.tensor(json.loads(file.read_text())["train"])
    retain = torch.ones(300, dtype=torch.bool)
    retain[listed] = False
    assert int(retain.sum()) == 240
    drawn, read = (
        record_of(folder, "method=original", "metrics=fast", *more)
        for more in ((), ("forget=indices", f"forget.file={file}"))
    )
    assert drawn.fingerprints["split"] == read.fingerprints["split"]
    assert drawn.run_id != read.run_id and read.status == "done"


def test_a_split_that_cannot_be_made_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert split_command(["dataset=digits", "forget=random_samples", "--output", str(folder / "x.txt")]) == 1
    assert "must end in .json, .csv, .npy" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_refused_before_images_are_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    places = {"x.txt": "must end in", "file/x.json": "nothing can be written there", "folder.csv": "it is a folder"}
    for name, reason in places.items():
        words = ["dataset=image_folder", f"dataset.root={tmp_path}/none", "--output", str(tmp_path / name)]
        assert split_command(words) == 1
        assert f"--output {tmp_path / name}: {reason}" in capsys.readouterr().err
