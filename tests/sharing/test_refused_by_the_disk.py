"""`unsir-bench store` where the disk, or another process, gets in the way: one line, and nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.sharing.conftest import KEYS, a_record, whole
from unsir_bench.cli.main import _status
from unsir_bench.errors import SharingError
from unsir_bench.records import RECORD_FILE
from unsir_bench.references.store import Store
from unsir_bench.sharing import prune as pruning
from unsir_bench.sharing import transfer, users
from unsir_bench.sharing.places import FolderPlace


def command(verb: str, store: Store, outputs: Path, *words: object) -> int:
    at = [str(store.root)] if verb == "prune" else ["--store", str(store.root)]
    return _status(["store", verb, *map(str, words), *at, "--records", str(outputs)])


@pytest.mark.parametrize("below", ["", "demo", "demo/unsir-digits-s0-0123456789"])
def test_prune_removes_nothing_where_records_cannot_be_listed(
    store: Store, outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], below: str
) -> None:
    hidden, scan, open_file = outputs / below, os.scandir, os.open

    def refuse(path: object) -> None:
        if str(path).startswith(str(hidden)) and "/store" not in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    @contextmanager
    def scandir(path: Path) -> Iterator[Any]:
        refuse(path)
        with scan(path) as inside:
            yield inside

    def opened(path: Path, *words: int) -> int:
        if str(path).endswith(RECORD_FILE):
            refuse(path)
        return open_file(path, *words)

    monkeypatch.setattr(users.os, "scandir", scandir)
    monkeypatch.setattr("unsir_bench.runtime.files.os.open", opened)
    before = whole(store)
    assert command("prune", store, outputs, "--yes") == 1
    said = capsys.readouterr().out
    assert "nothing is removed" in said and f"no record: {hidden}" in said and "Permission denied" in said
    assert whole(store) == before


def test_prune_counts_what_the_disk_keeps_as_left(
    store: Store, outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuses(path: Path) -> None:
        raise OSError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(pruning, "_delete", refuses)
    assert command("prune", store, outputs, "--yes") == 1
    said = capsys.readouterr().out
    assert f"left: {KEYS['other']}: [Errno 13] Permission denied" in said and "removed 0, 0.0 MB" in said


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("verb", ["push", "pull", "prune", "ls"])
def test_the_disks_errors_are_one_line_that_names_the_place(
    store: Store, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, code: int
) -> None:
    assert command("push", store, outputs, tmp_path / "shared") == 0
    target = {"push": ("unsir_bench.sharing.places.locked", tmp_path / "shared"),
              "pull": ("unsir_bench.cli.store.note_folder", tmp_path / "shared"),
              "prune": ("unsir_bench.cli.store.notes", store.root),
              "ls": ("unsir_bench.cli.store.notes", store.root)}  # fmt: skip

    def refuses(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    name, place = target[verb]
    monkeypatch.setattr(name, refuses)
    if verb == "pull":
        shutil.rmtree(outputs / "demo")
    words = [place] if verb in ("push", "pull") else []
    given = ["store", verb, str(store.root), "--records", str(outputs)]
    with pytest.raises(SharingError, match=os.strerror(code)) as refused:
        _status(given) if verb == "ls" else command(verb, store, outputs, *words)
    assert str(place) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("sweep", ["store", "report", "mine"])
def test_no_record_is_pulled_into_the_store_or_the_report(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], sweep: str
) -> None:
    theirs, here, place = tmp_path / "theirs", tmp_path / "here", tmp_path / "shared"
    a_record("honest").write(theirs / "demo" / "honest")
    a_record("hostile", sweep).write(theirs / sweep / "hostile")
    assert command("push", store, theirs, place) == 0
    own = Store(here / "mine")
    assert command("pull", own, here, place) == 1
    said = capsys.readouterr().out
    assert f"sweep={sweep}: must be" in said or f"sweep '{sweep}': its folder here is the store" in said
    assert (here / "demo" / "honest" / RECORD_FILE).is_file() and not list(here.glob("**/hostile"))


def test_an_entry_that_was_finished_while_it_was_pulled_is_present(
    store: Store, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("push", store, outputs, tmp_path / "shared") == 0
    find, asked = Store.find, set()

    def at_first_absent(own: Store, key: str) -> object:
        before = key in asked
        asked.add(key)
        return find(own, key) if before else None

    monkeypatch.setattr(Store, "find", at_first_absent)
    done = transfer.pull(FolderPlace(tmp_path / "shared"), store, None)
    assert (done.entries, done.refused) == ([], {}) and len(done.present) == 5
