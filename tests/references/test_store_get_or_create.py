"""Entries that are made where they are absent: by one process, once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric

from unsir_bench.references.store import Store

KEY = "0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


class Maker:
    """Writes an entry that tells which call made it."""

    def __init__(self, store: Store):
        self.store, self.calls = store, 0

    def __call__(self) -> None:
        self.calls += 1
        self.store.write(KEY, {"weights": {"w": torch.full((2,), float(self.calls))}}, {"call": self.calls})


def test_an_absent_entry_is_made_and_then_found(store: Store, fabric: Fabric) -> None:
    make = Maker(store)
    for _ in range(3):
        entry = store.get_or_create(KEY, "the log", fabric, make)
        assert entry.manifest == {"call": 1}
        assert entry.tensors("weights")["w"].tolist() == [1.0, 1.0]
    assert make.calls == 1


def test_another_store_over_the_same_folder_finds_it(store: Store, fabric: Fabric) -> None:
    store.get_or_create(KEY, "the log", fabric, Maker(store))
    later = Maker(store)
    assert Store(store.root).get_or_create(KEY, "the log", fabric, later).manifest == {"call": 1}
    assert later.calls == 0


def test_a_maker_that_writes_nothing_is_named(store: Store, fabric: Fabric) -> None:
    with pytest.raises(RuntimeError, match=rf"the log \({KEY}\) vanished"):
        store.get_or_create(KEY, "the log", fabric, lambda: None)


def test_an_entry_that_is_pruned_meanwhile_is_made_again(
    store: Store, fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, present = Maker(store), store._present
    store.get_or_create(KEY, "the log", fabric, make)

    def pruned_afterwards(key: str, fabric: Fabric) -> bool:
        found = present(key, fabric)
        if found and make.calls == 1:
            (store.root / "entries" / KEY).rename(store.root / "pruned")
        return found

    monkeypatch.setattr(store, "_present", pruned_afterwards)
    assert store.get_or_create(KEY, "the log", fabric, make).manifest == {"call": 2}


def test_a_maker_that_fails_leaves_the_lock_free_and_the_entry_to_be_made(store: Store, fabric: Fabric) -> None:
    def broken() -> None:
        raise ArithmeticError("half way")

    with pytest.raises(ArithmeticError, match="half way"):
        store.get_or_create(KEY, "the log", fabric, broken)
    assert store.find(KEY) is None
    assert store.get_or_create(KEY, "the log", fabric, Maker(store)).manifest == {"call": 1}


def test_the_lock_is_held_while_it_is_made_and_free_afterwards(store: Store, fabric: Fabric) -> None:
    def locked() -> bool:
        probe = FileLock(store.root / "locks" / f"{KEY}.lock")
        try:
            with probe.acquire(timeout=0):
                return False
        except Timeout:
            return True

    held = []
    make = Maker(store)

    def making() -> None:
        held.append(locked())
        make()

    store.get_or_create(KEY, "the log", fabric, making)
    assert held == [True]
    assert not locked()


def test_whoever_comes_second_waits_and_takes_what_the_first_made(store: Store, fabric: Fabric) -> None:
    make, begun = Maker(store), threading.Event()

    def slowly() -> None:
        begun.set()
        time.sleep(0.2)
        make()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.get_or_create, KEY, "the log", fabric, slowly)
        assert begun.wait(5)
        second = pool.submit(Store(store.root).get_or_create, KEY, "the log", fabric, slowly)
    assert first.result().manifest == second.result().manifest == {"call": 1}
    assert make.calls == 1


def follower(first_sees: list[bool], done_by_first: Any = None) -> Any:
    """The fabric of a process that is not the first: it hears what the first one sees, and waits for it."""
    answers = iter(first_sees)
    return SimpleNamespace(
        world_size=2,
        is_global_zero=False,
        broadcast=lambda _own: next(answers),
        barrier=done_by_first or (lambda: None),
    )


def test_a_process_that_is_not_the_first_joins_in_the_making_without_the_lock(store: Store) -> None:
    joined, first = [], Maker(store)
    fabric = follower([False, False], done_by_first=first)
    entry = store.get_or_create(KEY, "the log", fabric, lambda: joined.append(store.find(KEY)))
    assert joined == [None]
    assert entry.manifest == {"call": 1}
    assert not (store.root / "locks").exists()


def test_a_process_that_is_not_the_first_believes_what_the_first_one_sees(store: Store) -> None:
    make, joined = Maker(store), []
    with pytest.raises(RuntimeError, match="vanished"):
        store.get_or_create(KEY, "the log", follower([True]), make)
    assert make.calls == 0
    make()
    # It finds the entry where the first one did not yet: if it did not join, the first would wait for ever.
    store.get_or_create(KEY, "the log", follower([False, False]), lambda: joined.append(KEY))
    assert joined == [KEY]
