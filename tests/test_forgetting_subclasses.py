"""Whole runs that forget a sub-class, an attribute, or several requests over time, on small folders of digits."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from unsir_bench import compose, run
from unsir_bench.cli.evaluate import evaluate_command
from unsir_bench.cli.split import split_command
from unsir_bench.config import validate
from unsir_bench.data.digits import Digits
from unsir_bench.errors import ConfigError
from unsir_bench.records import RunRecord
from unsir_bench.report.forget_words import forget_label
from unsir_bench.runtime.progress import Progress

COARSE = {"high": range(5, 10), "low": range(5)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 training and 10 test images of each digit as ``images/train/low/3/007.png``, and who wrote it in a CSV."""
    root = tmp_path_factory.mktemp("digits") / "images"
    data = Digits(subset=30).load(Progress(interactive=False))
    rows = [("file", "writer")]
    for name, split, most in (("train", data.train, 30), ("test", data.test, 10)):
        for coarse, digits in COARSE.items():
            for digit in digits:
                for number, image in enumerate(split.images[split.labels == digit][:most]):
                    path = Path(name) / coarse / str(digit) / f"{number:03}.png"
                    (root / path).parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.asarray(image[0])).save(root / path)
                    rows.append((path.as_posix(), "ann" if number % 10 == 0 else "bob"))
    with (root / "attributes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


def words_of(folder: Path, *words: str) -> list[str]:
    return [
        "dataset=two_level_folder", f"dataset.root={folder}", "dataset.mode=L", "dataset.batch_size=32",
        "dataset.flip=false", "model.width=4", "train.epochs=2", "tracker=none", "hardware=cpu", "metrics=fast",
        "metrics.collateral=true", f"outputs={folder.parent}/out", f"store.root={folder.parent}/store", *words,
    ]  # fmt: skip


def record_of(folder: Path, *words: str) -> RunRecord:
    record = run(compose(words_of(folder, *words)))
    assert record.status == "done", (record.reason, record.error)
    return record


SUBCLASS = ("forget=subclass", "forget.subclasses=[low/3]")


def test_a_sub_class_is_forgotten_and_its_siblings_are_measured(folder: Path) -> None:
    record = record_of(folder, "method=retrain", *SUBCLASS)
    assert record.details["samples"] == {
        "retain_train": 270, "forget_train": 30, "retain_test": 90, "forget_test": 10,
    }  # fmt: skip
    assert (record.forget_classes, record.forget_names) == ([], ["low/3"])
    assert forget_label(record) == "subclass (low/3)"
    assert record.details["nearest"] == {"samples": 40, "classes": ["low"]}
    assert record.metrics["gap_acc_nearest_test"] == 0 == record.metrics["gap_acc_forget_test"]
    # Of the 50 test images of the coarse class, 10 are forgotten and 40 siblings.
    for prefix in ("", "original_"):
        of_class = record.details[f"{prefix}accuracy_by_class"]["test"][1]
        parts = [record.metrics[f"{prefix}acc_{name}_test"] for name in ("forget", "nearest")]
        assert of_class == pytest.approx((10 * parts[0] + 40 * parts[1]) / 50)
    assert "no class is forgotten" in record.metric_notes["forget_answered_any_forget_class"]


def test_unsir_learns_noise_against_the_coarse_label_and_reads_no_forget_sample(folder: Path) -> None:
    record = record_of(
        folder, "method=unsir", "method.noise.kept=1", "method.noise.batch_size=8", "method.noise.steps=2",
        "method.noise.copies=1", *SUBCLASS,
    )  # fmt: skip
    kept = load_file(Path(record.config["outputs"]) / record.sweep / record.run_id / "noise.safetensors")
    assert kept["classes"].tolist() == [1]
    assert record.access["forget"] == {"samples": 0, "reads": 0} and record.access["retain"]["samples"] > 0
    assert record.metrics["acc_nearest_test"] is not None
    skipped = run(compose(words_of(folder, "method=logit_mask", *SUBCLASS)))
    assert skipped.status == "skipped" and "forgets whole classes" in (skipped.reason or "")


def test_a_bank_is_added_to_a_finished_run_that_learned_noise_against_the_coarse_label(folder: Path) -> None:
    brief = ("method=unsir", "method.noise.batch_size=8", "method.noise.steps=1", "method.noise.copies=1", *SUBCLASS)
    record = record_of(folder, *brief, "sweep=bank", "unlearn_seed=3")
    at = Path(record.config["outputs"]) / "bank" / record.run_id
    assert evaluate_command([str(at), "metrics=fast", "metrics.bank_size=3", "metrics.collateral=true"]) == 0
    assert RunRecord.read(at / "record.json").metrics["ulira_auc"] is not None


def test_the_same_samples_under_another_request_are_measured_by_what_that_one_means(folder: Path) -> None:
    """Of a sub-class the siblings are nearest, of listed samples their neighbours, whatever the store knows."""
    listed = folder.parent / "whales.json"
    relearned = ("metrics.relearn.cap=2", "metrics.relearn.every=1", "method=finetune", "method.train.epochs=1")
    record_of(folder, *relearned, *SUBCLASS)
    words = [word for word in words_of(folder, *SUBCLASS) if not word.startswith(("metrics", "tracker", "outputs"))]
    assert split_command([*words, "--output", str(listed)]) == 0
    record = record_of(folder, *relearned, "forget=indices", f"forget.file={listed}")
    for prefix in ("", "original_", "retrain_"):
        assert record.details[f"{prefix}nearest"]["classes"] == []


def test_an_attribute_is_forgotten_whatever_its_classes(folder: Path) -> None:
    words = ("forget=attribute", "forget.column=writer", "forget.value=ann")
    record = record_of(folder, "method=amnesiac", "method.train.epochs=1", *words)
    assert record.details["samples"]["forget_train"] == 30 and record.details["samples"]["forget_test"] == 10
    assert forget_label(record) == "attribute (writer=ann)"
    assert record.details["nearest"]["classes"] == [] and 1 <= record.details["nearest"]["samples"] <= 30


def test_every_kind_is_written_as_a_file_that_ten_lines_of_torch_read(folder: Path) -> None:
    """The script reads the file and the folder by itself, and finds the samples that the run forgets."""
    file = folder.parent / "low_3.json"
    assert split_command([*words_of(folder, *SUBCLASS), "--output", str(file)]) == 0
    paths = sorted((folder / "train").glob("*/*/*.png"))
    listed = json.loads(file.read_text())
    forget = torch.zeros(len(paths), dtype=torch.bool)
    forget[torch.tensor(listed["train"])] = True
    assert {path.parent.name for path, gone in zip(paths, forget.tolist(), strict=True) if gone} == {"3"}
    assert int(forget.sum()) == 30 and len(listed["test"]) == 10
    by_name, by_file = (
        record_of(folder, "method=original", *words) for words in (SUBCLASS, ("forget=indices", f"forget.file={file}"))
    )
    assert by_name.fingerprints == by_file.fingerprints and by_name.run_id != by_file.run_id
    # The same file for another data set: refused in one line, before anything is trained.
    refused = run(compose(["dataset=digits", "forget=indices", f"forget.file={file}", "tracker=none", "hardware=cpu",
                           f"outputs={folder.parent}/out", f"store.root={folder.parent}/store"]))  # fmt: skip
    assert refused.status == "failed" and "belongs to the data set" in (refused.error or "")


@pytest.mark.parametrize("method", ["finetune", "amnesiac_subtract"])
def test_requests_over_time_are_measured_after_each(folder: Path, method: str) -> None:
    for name, listed in (("monday", range(8)), ("tuesday", range(40, 46))):
        (folder.parent / f"{name}.json").write_text(json.dumps({"train": list(listed)}))
    files = ",".join(str(folder.parent / f"{name}.json") for name in ("monday", "tuesday"))
    record = record_of(
        folder, f"method={method}", "method.train.epochs=1", "metrics.membership=true", "forget=sequence",
        f"forget.sequence=[{files},{{subclasses:[high/8]}}]",
    )  # fmt: skip
    steps = record.details["steps"]
    assert [(step["samples"], step["classes"]) for step in steps] == [(8, []), (6, []), (30, [])]
    assert steps[2]["request"] == "subclasses=['high/8']" and steps[0]["request"].endswith("monday.json")
    seconds = [step["metrics"]["unlearn_seconds"] for step in steps]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    for step in steps:
        for name in ("acc_retain_test", "retrain_acc_retain_test", "mia_loss_accuracy", "acc_nearest_test"):
            assert step["metrics"][name] is not None, record.metric_notes
    assert record.details["samples"]["forget_train"] == 44
    assert forget_label(record) == "sequence monday.json, tuesday.json, subclasses ['high/8']"


def test_wrong_settings_of_every_kind_are_named_together(folder: Path) -> None:
    twice = folder.parent / "twice.json"
    twice.write_text(json.dumps({"train": [3, 3, -1]}))
    wrong = words_of(
        folder, "forget=sequence", "seed=-1",
        f"forget.sequence=[{twice},{{share:0.0}},{{share:1.0}},{{subclasses:[low/33]}},{{column:writer,value:eve}}]",
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        validate(compose(wrong))
    found = caught.value.problems
    for words in ("index 3 is there twice", "index -1 is negative", "[1].share=0.0", "[2].share=1.0", "'low/33'",
                  "forget.value=eve", "seed=-1"):  # fmt: skip
        assert [line for line in found if words in line], (words, found)
    assert len(found) == 7


@pytest.mark.parametrize("share", ["0", "1", "0.0", "1.5"])
def test_a_share_of_nothing_or_of_all_is_refused(share: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(compose(["dataset=digits", "forget=random_samples", f"forget.share={share}"]))
    [line] = caught.value.problems
    assert line.startswith("forget.share=") and line.endswith("must be above 0 and below 1")
