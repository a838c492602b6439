"""Runs that cannot serve their method: recorded as skipped, with the reason and without scores."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.stored import with_weights
from unsir_bench import compose
from unsir_bench.config import Config, validate
from unsir_bench.config_fields import not_hashed
from unsir_bench.data.dataset import RawData
from unsir_bench.data.digits import Digits
from unsir_bench.errors import ConfigError
from unsir_bench.records import RunRecord
from unsir_bench.references.store import Store
from unsir_bench.report.data import model_table
from unsir_bench.report.tables.table import summary
from unsir_bench.runner import run
from unsir_bench.runtime.progress import Progress

TINY = ["dataset.subset=15", "model.width=4", "train.epochs=2", "metrics=fast", "tracker=none"]
SHORT = ["method.train.epochs=1"]
SHORT_UNSIR = ["method.noise.steps=3", "method.noise.batch_size=8", "method.noise.copies=2"]


def composed(tmp_path: Path, *overrides: str) -> Config:
    return compose([*TINY, f"outputs={tmp_path}", f"store.root={tmp_path}/store", *overrides])


def trained_models(config: Config) -> list[Path]:
    return list((Path(config.store.root) / "entries").glob("[!.]*"))


def assert_skipped(record: RunRecord, config: Config, *words: str) -> None:
    """A reason that holds the words, no score, no traceback, and the same on disk."""
    assert record.status == "skipped"
    for word in words:
        assert word in (record.reason or "")
    assert record.error is None
    assert not [name for name in record.metrics if "acc_" in name or name.endswith("seconds")]
    assert RunRecord.read(config.folder / "record.json") == record


@pytest.mark.parametrize(
    ("method", "withheld"),
    [
        ("neggrad", ["forget_data"]),
        ("finetune", ["retain_data"]),
        ("unsir", ["forget_data", "retain_subset"]),
        ("retrain", ["initial_weights"]),
        ("amnesiac_subtract", ["train_history"]),
    ],
)
def test_a_method_whose_access_is_withheld_is_skipped_before_any_training(
    method: str, withheld: list[str], tmp_path: Path
) -> None:
    config = composed(tmp_path, f"method={method}", f"withheld=[{','.join(withheld)}]")
    assert_skipped(run(config), config, f"method '{method}'", withheld[-1], "withholds")
    assert trained_models(config) == []


def test_a_method_that_needs_nothing_withheld_runs_as_ever(tmp_path: Path) -> None:
    usual = run(composed(tmp_path, "method=unsir", *SHORT_UNSIR))
    record = run(composed(tmp_path, "method=unsir", *SHORT_UNSIR, "withheld=[forget_data]"))
    assert record.status == usual.status == "done"
    assert record.fingerprints == usual.fingerprints
    assert record.run_id != usual.run_id


def test_a_skipped_run_is_finished_and_not_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = composed(tmp_path, "method=neggrad", "withheld=[forget_data]")
    first = run(config)
    before = (config.folder / "record.json").stat().st_mtime_ns
    with caplog.at_level("INFO"):
        assert run(config) == first
    assert "is finished (skipped)" in caplog.text
    assert (config.folder / "record.json").stat().st_mtime_ns == before


def test_what_is_withheld_is_part_of_the_run_id_in_whatever_order(tmp_path: Path) -> None:
    usual = composed(tmp_path)

    def run_id(*words: str) -> str:
        return dataclasses.replace(usual, withheld=list(words)).run_id

    assert len({usual.run_id, run_id("forget_data"), run_id("retain_data"), run_id("forget_data", "retain_data")}) == 4
    assert run_id("retain_data", "forget_data") == run_id("forget_data", "retain_data")
    assert composed(tmp_path, "withheld=[forget_data]").run_id == run_id("forget_data")


def test_a_withheld_word_that_is_no_access_is_named_with_the_known_ones(tmp_path: Path) -> None:
    config = composed(tmp_path, "withheld=[forget_data,nonsense]")
    with pytest.raises(ConfigError) as caught:
        validate(config)
    [problem] = caught.value.problems
    for word in (
        "'nonsense'", "retain_data", "retain_subset", "forget_data", "train_history", "initial_weights",
    ):  # fmt: skip
        assert word in problem
    record = run(config)
    assert (record.status, "'nonsense'" in (record.reason or "")) == ("failed", True)


# A training split without the retained classes


@dataclasses.dataclass
class RetainGone(Digits):
    """The digits, of whose training images only the zeros are left."""

    name: str = not_hashed("retain_gone")

    def read(self, progress: Progress) -> RawData:
        raw = super().read(progress)
        return dataclasses.replace(raw, train=raw.train.take(np.flatnonzero(raw.train.labels == 0)))


def without_retain(tmp_path: Path, *overrides: str) -> Config:
    config = composed(tmp_path, *overrides)
    own = {field.name: getattr(config.dataset, field.name) for field in dataclasses.fields(config.dataset)}
    config.dataset = RetainGone(**{**own, "name": "retain_gone"})
    return config


@pytest.mark.parametrize("method", ["finetune", "unsir", "retrain", "neggrad_plus"])
def test_a_method_that_needs_retain_samples_is_skipped_where_none_are_left(method: str, tmp_path: Path) -> None:
    config = without_retain(tmp_path, f"method={method}")
    assert_skipped(run(config), config, f"method '{method}' needs retain samples", "the training split has none")
    assert trained_models(config) == []


def test_a_method_that_needs_forget_samples_alone_runs_where_no_retain_sample_is_left(tmp_path: Path) -> None:
    config = without_retain(tmp_path, "method=neggrad", *SHORT)
    record = run(config)
    assert (record.status, record.reason) == ("done", None)
    metrics = json.loads((config.folder / "record.json").read_text())["metrics"]
    for name in ("retain_train", "retain_test", "forget_train", "forget_test"):
        assert metrics[f"retrain_acc_{name}"] is None
    assert metrics["retrain_seconds"] is metrics["speedup_vs_retrain"] is None
    assert metrics["acc_retain_train"] is metrics["original_acc_retain_train"] is None
    for name in ("retain_test", "forget_train", "forget_test"):
        for prefix in ("", "original_"):
            assert 0 <= metrics[f"{prefix}acc_{name}"] <= 1
    assert record.fingerprints["retrain"] is None
    assert record.access["forget"] == {"samples": 15, "reads": 15}
    assert record.access["retain"] == {"samples": 0, "reads": 0}
    kept = {record.fingerprints["original"], record.unlearned[0]["key"]}
    assert {folder.name for folder in trained_models(config)} == kept

    # A network that has met a single class names it every time: the rows are the method and the original, no retrain.
    rows = {row["method"]: row for row in summary(model_table([record]))}
    assert rows.keys() == {"original", "neggrad"}
    assert rows["original"]["A_Df %"] == f"{100 * metrics['original_acc_forget_test']:.2f}"


# A log that is not the original's


def test_an_original_that_cannot_be_trained_again_has_no_log_and_the_run_is_skipped(tmp_path: Path) -> None:
    key = run(composed(tmp_path, "method=original")).fingerprints["original"]
    config = composed(tmp_path, "method=amnesiac_subtract", *SHORT)
    models = trained_models(config)
    with_weights(
        Path(config.store.root) / "entries" / str(key),
        lambda weights: {name: v + 1e-3 if v.is_floating_point() else v for name, v in weights.items()},
    )
    assert_skipped(run(config), config, "no training log", "ended at other weights", "hardware.threads", str(key))
    assert trained_models(config) == models


def test_a_method_that_subtracts_the_log_is_booked_what_recording_it_took(tmp_path: Path) -> None:
    config = composed(tmp_path, "method=amnesiac_subtract", *SHORT)
    record = run(config)
    assert (record.status, record.reason) == ("done", None)
    store = Store(Path(config.store.root))
    entries = [store.find(folder.name) for folder in trained_models(config)]
    [log] = [entry for entry in entries if entry and "batches_with_forget_samples" in entry.manifest]
    assert log.manifest["original"] == record.fingerprints["original"]
    assert record.metrics["log_seconds"] == log.manifest["seconds"] > 0
    assert record.metrics["unlearn_seconds"] > record.metrics["log_seconds"]
    assert {name for name in record.metrics if name.endswith("_steps")} == {"repair_steps"}
    assert all(bool(torch.isfinite(value).all()) for value in log.tensors("updates").values())
