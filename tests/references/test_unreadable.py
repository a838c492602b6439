"""A file that cannot be read for a reason of the moment is no damaged file: nothing replaces it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from unsir_bench.errors import NotRecordedError, UnreadableError
from unsir_bench.records import RECORD_FILE, finished_record
from unsir_bench.references.store import Store

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "digits_run"
KEY = "0123456789abcdef"
MOMENTS = ("EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ETIMEDOUT", "EIO")


def refusing(monkeypatch: pytest.MonkeyPatch, suffix: str, code: int) -> None:
    """Opening files of a suffix fails; pathlib's own way of writing goes by another function."""
    usual = os.open

    def refuses(path: str | Path, flags: int, *words: int) -> int:
        if str(path).endswith(suffix):
            raise OSError(code, os.strerror(code), str(path))
        return usual(path, flags, *words)

    monkeypatch.setattr("unsir_bench.runtime.files.os.open", refuses)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "locks" not in path.parts}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("suffix", ["weights.safetensors", "manifest.json", "manifest.sha256"])
def test_an_entry_stays(
    tmp_path: Path, fabric: Fabric, monkeypatch: pytest.MonkeyPatch, suffix: str, moment: str
) -> None:
    store = Store(tmp_path / "store")
    store.write(KEY, {"weights": {"w": torch.arange(3.0)}}, {})
    before = contents(tmp_path)
    refusing(monkeypatch, suffix, getattr(errno, moment))
    reads: list[Callable[[], object]] = [
        lambda: store.find(KEY), lambda: store._set_damaged_aside(KEY),
        lambda: store.get_or_create(KEY, "the original model", fabric, lambda: pytest.fail("made again")),
    ]  # fmt: skip
    for read in reads:
        with pytest.raises(UnreadableError, match=f"{suffix} cannot be read .*try again"):
            read()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    checkpoint = Store(tmp_path / "store").checkpoint(KEY)
    checkpoint.save({"epoch": 3})
    before = contents(tmp_path)
    refusing(monkeypatch, ".pt", getattr(errno, moment))
    with pytest.raises(UnreadableError, match=f"{KEY}.pt cannot be read"):
        checkpoint.load()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_finished_record_is_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    folder = tmp_path / "unsir_slim-digits-allcnn_slim-single-s0-1deefa74cc"
    shutil.copytree(GOLDEN, folder)
    assert finished_record(folder) is not None
    refusing(monkeypatch, RECORD_FILE, getattr(errno, moment))
    with pytest.raises(NotRecordedError, match=r"record\.json cannot be read"):
        finished_record(folder)


def test_a_link_or_a_folder_in_its_place_is_damage(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.write(KEY, {"weights": {"w": torch.arange(3.0)}}, {})
    weights = store.root / "entries" / KEY / "weights.safetensors"
    weights.rename(tmp_path / "elsewhere")
    assert store.find(KEY) is None
    weights.symlink_to(tmp_path / "elsewhere")
    assert store.find(KEY) is None
    weights.unlink()
    weights.mkdir()
    assert store.find(KEY) is None
