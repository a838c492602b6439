"""A small store, and records of runs that used it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unsir_bench.records import RunRecord
from unsir_bench.references.store import Store, content_key

ORIGINAL = {"data": "d1", "model": {"class": "AllCNNConfig"}, "seed": 0, "samples": "all"}
RETRAIN = {**ORIGINAL, "samples": "retain"}
OTHER_DATA = {**ORIGINAL, "data": "d2"}
KEYS = {
    name: content_key(about) for name, about in (("original", ORIGINAL), ("retrain", RETRAIN), ("other", OTHER_DATA))
}
LOG = {"log of": KEYS["original"], "forget classes": [3]}
FEATURES_OF_LOG = {"kind": "made of the log", "description": {"log": [content_key(LOG)]}}
KEYS |= {"log": content_key(LOG), "derived": content_key(FEATURES_OF_LOG)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two models of one data set, what was derived from them, and a model of another data set."""
    store = Store(tmp_path / "outputs" / "store")
    for number, about in enumerate((ORIGINAL, RETRAIN, OTHER_DATA), start=1):
        files = {"weights": {"w": torch.full((9,), float(number))}, "logits": {"test": torch.ones(2, 3)}}
        store.write(content_key(about), files, {"seconds": 1.5, "description": about})
    store.write(KEYS["log"], {"updates": {"w": torch.ones(3)}}, {"description": LOG})
    store.write(KEYS["derived"], {}, {"description": FEATURES_OF_LOG, "result": {"a": 1}})
    return Store(store.root)


def a_record(run_id: str = "unsir-digits-s0-0123456789", sweep: str = "demo", **changes: object) -> RunRecord:
    """A finished run that used both models of the first data set."""
    fields: dict[str, object] = {
        "status": "done",
        "fingerprints": {"data": "d1", "original": KEYS["original"], "retrain": KEYS["retrain"]},
        "store_entries": [KEYS["original"], KEYS["retrain"]],
        "metrics": {"acc_forget_test": 0.25},
    }
    return RunRecord(run_id, sweep, "unsir", "digits", "allcnn", 0, {}, **{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A folder of sweeps with two records."""
    folder = tmp_path / "outputs"
    for record in (a_record(), a_record("retrain-digits-s0-0123456789", "second")):
        record.write(folder / record.sweep / record.run_id)
    return folder


def whole(store: Store) -> dict[str, dict[str, bytes]]:
    """The content of every file of a store's entries, each verified."""
    return {
        entry.folder.name: {path.name: path.read_bytes() for path in entry.verify().folder.iterdir()}
        for entry in store.entries()
    }
