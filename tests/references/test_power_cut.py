"""After a power cut at any moment, what is in the store or among the records is whole, and what was finished is there.

`python -m tests.benchmarks.power_cut` does the same with a mounted file system.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.journal import Journal
from unsir_bench.data.folders import ImageFolder
from unsir_bench.data.image_cache import CACHE_FOLDER, _read
from unsir_bench.errors import DamagedEntryError
from unsir_bench.records import RECORD_FILE, RunRecord
from unsir_bench.references.store import Entry, Store, content_key
from unsir_bench.runtime.progress import Progress

ABOUT = {"seed": 0}
KEY = content_key(ABOUT)


def training_ends(root: Path, journal: Journal) -> None:
    """Two epochs' checkpoints, the entry, and the record of the run."""
    store = Store(root / "store")
    with store.lock(KEY, "the original model"):
        checkpoint = store.checkpoint(KEY)
        for epoch in (1, 2):
            checkpoint.save({"w": torch.arange(9.0), "epoch": epoch})
            journal.promised.append("checkpoint")
        files = {"weights": {"w": torch.arange(9.0)}, "logits": {"test": torch.ones(2, 3)}}
        store.write(KEY, files, {"description": ABOUT})
        journal.promised.append(KEY)
        journal.promised.remove("checkpoint")
        journal.promised.remove("checkpoint")
        checkpoint.discard()
    RunRecord("run", "sweep", "unsir", "digits", "allcnn", 0, {}, status="done").write(root / "sweep" / "run")
    journal.promised.append("run")


def images_are_decoded(root: Path, journal: Journal) -> None:
    ImageFolder(root=str(root)).load(Progress(interactive=False))
    journal.promised.append("cache")


def read_all(root: Path) -> set[str]:
    """The names of what is there; raises if any of it cannot be read."""
    store, found = Store(root / "store"), set()
    for folder in store.folders():
        Entry.opened(folder).verify()
        found.add(folder.name)
    for path in store.checkpoints():
        store.checkpoint(path.stem).verify()
        found.add("checkpoint")
    for path in root.glob(f"sweep/*/{RECORD_FILE}"):
        RunRecord.read(path)
        found.add(path.parent.name)
    for folder in root.glob(f"{CACHE_FOLDER}/[!.]*/"):
        _read(folder)
        found.add("cache")
    return found


def complaints(journal: Journal, folder: Path) -> tuple[int, list[str]]:
    """How many disks were looked at, and what was wrong with which."""
    looked, wrong = 0, []
    for number, moment in enumerate(journal.moments):
        for disk in moment.disks(folder / str(number)):
            looked += 1
            try:
                missing = set(moment.promised) - read_all(disk)
            except (DamagedEntryError, ValueError) as reason:
                wrong.append(f"before {moment.call}, {disk.name}: {reason}")
            else:
                wrong += [f"before {moment.call}, {disk.name}: lost {missing}"] * bool(missing)
    return looked, wrong


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    for split in ("train", "test"):
        for label in range(2):
            (folder / split / f"class{label}").mkdir(parents=True)
            pixels = np.full((4, 4, 3), 50 * label, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / split / f"class{label}" / "0.png")
    return folder


WORK = {"a training": training_ends, "the decoded cache": images_are_decoded}


@pytest.mark.parametrize("work", WORK)
def test_whatever_a_power_cut_leaves_can_be_read(
    work: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(root)
    with journal.watching():
        WORK[work](root, journal)
    looked, wrong = complaints(journal, tmp_path / "after")
    assert not wrong, wrong
    assert looked >= 2 * len(journal.moments) > 20
    with capsys.disabled():
        print(f"\n{work}: {len(journal.moments)} moments, {looked} disks, 0 unreadable or lost", end="")


@pytest.mark.parametrize("work", WORK)
def test_without_syncs_the_same_looks_find_what_is_lost(work: str, root: Path, tmp_path: Path) -> None:
    journal = Journal(root, obeyed=False)
    with journal.watching():
        WORK[work](root, journal)
    _, wrong = complaints(journal, tmp_path / "after")
    assert any("lost {" in line for line in wrong) and any("json" in line for line in wrong)


def broken(name: str) -> Callable[..., None]:
    """A function of ``unsir_bench.runtime.files`` that does nothing."""
    return lambda *_arguments: None


@pytest.mark.parametrize("left_out", ["sync_files", "sync_folder"])
def test_each_sync_is_needed(left_out: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("runtime.files", "references.store"):
        monkeypatch.setattr(f"unsir_bench.{module}.{left_out}", broken(left_out), raising=False)
    journal = Journal(root)
    with journal.watching():
        training_ends(root, journal)
    assert complaints(journal, tmp_path / "after")[1]
