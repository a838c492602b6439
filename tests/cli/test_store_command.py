"""`unsir-bench store`: what it holds, and whether it is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from unsir_bench.cli.main import _status
from unsir_bench.references.store import Store, content_key

DESCRIPTION = {"model": {"class": "AllCNNConfig"}, "recipe": {"epochs": 3}, "data": "d1", "samples": "s1", "seed": 4}
KEY = content_key(DESCRIPTION)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.write(
        KEY, {"weights": {"w": torch.zeros(250_000)}},
        {"role": "original", "seconds": 12.34, "description": DESCRIPTION, "trained_in": {"commit": "abcdef" * 7}},
    )  # fmt: skip
    log = {"log of": KEY}
    store.write(content_key(log), {"updates": {"w": torch.zeros(3)}}, {"seconds": 1.0, "description": log})
    store.checkpoint("0123456789abcdef").save({"progress": 1})
    return store


def test_ls_says_what_each_entry_is_and_how_large(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert _status(["store", "ls", str(store.root)]) == 0
    said = capsys.readouterr().out
    [line] = [line for line in said.splitlines() if f"│ {KEY} " in line]
    for words in ("1.00", "original", "AllCNNConfig, seed 4, 3 epochs, data d1, samples s1", "12.3", "abcdefabcd"):
        assert words in line
    [line] = [line for line in said.splitlines() if "training log" in line]
    assert KEY in line
    assert "2 entries, 1.0 MB" in said and "1 interrupted trainings" in said


def test_a_whole_store_is_verified_and_left_as_it_is(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.lstat().st_mtime_ns for path in store.root.rglob("*")}
    assert _status(["store", "verify", str(store.root)]) == 0
    assert "2 entries and 1 checkpoints: 0 damaged" in capsys.readouterr().out
    assert {path: path.lstat().st_mtime_ns for path in store.root.rglob("*")} == before


def test_each_damage_is_named_and_nothing_is_moved(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    weights = store.root / "entries" / KEY / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.truncate(store.checkpoints()[0], 20)
    (store.root / "entries" / "planted").symlink_to("/")
    assert _status(["store", "verify", str(store.root)]) == 1
    said = capsys.readouterr().out
    assert f"{KEY}: weights.safetensors does not match its hash" in said
    assert "planted: it is a link" in said and "0123456789abcdef.pt" in said
    assert "3 entries and 1 checkpoints: 3 damaged" in said
    assert weights.exists() and store.checkpoints() and not store.damaged()
    assert _status(["store", "ls", str(store.root)]) == 1
    assert "damaged: it is a link" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _status(["store", "ls", str(tmp_path / "none")]) == 2
    assert "none: there is no such store" in capsys.readouterr().out
