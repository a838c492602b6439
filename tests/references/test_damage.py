"""Damage to what the store holds: found when it is read, set aside, and made again."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from tests.damage import flipped, replaced_by_link, structural
from unsir_bench.references.store import Store, content_key

DESCRIPTION = {"samples": "all", "seed": 3}
KEY = content_key(DESCRIPTION)
FLIPS = 200
SEED = int(os.environ.get("UNSIR_BENCH_TEST_SEED", "0"))  # of the flips; printed by a failing test's name


class Maker:
    """Writes the same entry each time, and counts."""

    def __init__(self, store: Store):
        self.store, self.calls = store, 0

    def __call__(self) -> None:
        self.calls += 1
        files = {"weights": {"w": torch.arange(64.0)}, "logits": {"test": torch.ones(9, 3)}}
        self.store.write(KEY, files, {"seconds": 1.5, "steps": 7, "description": DESCRIPTION})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def assert_healed(store: Store, fabric: Fabric, make: Maker, what: str) -> None:
    """The entry is found damaged, made once more, and is then what it was."""
    calls = make.calls
    assert store.find(KEY) is None, what
    entry = store.get_or_create(KEY, "the original model", fabric, make)
    assert make.calls == calls + 1, what
    assert entry.manifest["seconds"] == 1.5 and torch.equal(entry.tensors("weights")["w"], torch.arange(64.0))
    assert store.get_or_create(KEY, "the original model", fabric, make).manifest == entry.manifest
    assert make.calls == calls + 1, what


def test_no_single_flipped_bit_of_an_entry_is_used(
    store: Store, fabric: Fabric, caplog: pytest.LogCaptureFixture
) -> None:
    make, draws = Maker(store), random.Random(SEED)
    folder = store.get_or_create(KEY, "the original model", fabric, make).folder
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["logits.safetensors", "manifest.json", "manifest.sha256", "weights.safetensors"]
    for turn in range(FLIPS):
        path = folder / files[turn % len(files)]
        content = path.read_bytes()
        bit = draws.randrange(8 * len(content))
        path.write_bytes(flipped(content, bit))
        assert_healed(store, fabric, make, f"bit {bit} of {path.name}")
    assert caplog.text.count("is damaged") == len(list((store.root / "damaged").iterdir())) == FLIPS
    assert KEY in caplog.text


def test_no_single_flipped_bit_of_a_checkpoint_is_used(store: Store) -> None:
    draws, path = random.Random(SEED), store.root / "in_progress" / f"{KEY}.pt"
    for turn in range(FLIPS):
        checkpoint = store.checkpoint(KEY)
        checkpoint.save({"model": {"w": torch.arange(64.0)}, "progress": {"epoch": turn}})
        content = path.read_bytes()
        # Every third in the first line, which holds the hash.
        bit = draws.randrange(8 * (len(content) if turn % 3 else content.index(b"\n") + 1))
        path.write_bytes(flipped(content, bit))
        assert checkpoint.load() is None, f"bit {bit}"
        assert not path.exists()


def other_entry(folder: Path) -> Path:
    """Another finished entry beside it, whose weights are others."""
    store = Store(folder.parents[1])
    return store.write("another", {"weights": {"w": torch.ones(64)}, "logits": {"test": torch.zeros(9, 3)}}, {}).folder


def swapped_files(folder: Path) -> None:
    shutil.copy(other_entry(folder) / "weights.safetensors", folder / "weights.safetensors")


def swapped_entry(folder: Path) -> None:
    other = other_entry(folder)
    shutil.rmtree(folder)
    other.rename(folder)


def replaced_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


NAMES = ("weights.safetensors", "logits.safetensors", "manifest.json", "manifest.sha256")
DAMAGES: dict[str, Callable[[Path], object]] = {
    **structural(NAMES),
    "another's weights": swapped_files,
    "another's entry": swapped_entry,
    "a link": replaced_by_link,
    "a file": replaced_by_file,
    "an empty folder": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_set_aside_and_made_again(damage: str, store: Store, fabric: Fabric) -> None:
    make = Maker(store)
    DAMAGES[damage](store.get_or_create(KEY, "the original model", fabric, make).folder)
    assert_healed(store, fabric, make, damage)
    assert any(path.name.startswith(KEY) for path in (store.root / "damaged").iterdir())


def test_weights_that_are_no_numbers_are_never_kept(store: Store) -> None:
    with pytest.raises(ValueError, match="NaN"):
        store.write(KEY, {"weights": {"w": torch.tensor([1.0, float("nan")])}}, {})


def test_an_entry_is_written_under_the_key_of_its_description(store: Store) -> None:
    with pytest.raises(ValueError, match=KEY):
        store.write(KEY, {}, {"description": {**DESCRIPTION, "seed": 4}})


@pytest.mark.parametrize("planted", ["link", "pipe", "folder", "text", "another training's"])
def test_a_planted_checkpoint_is_set_aside(planted: str, store: Store, tmp_path: Path) -> None:
    path, outside = store.root / "in_progress" / f"{KEY}.pt", tmp_path / "outside.pt"
    other = store.checkpoint("another")
    other.save({"progress": {"epoch": 1}})
    shutil.copy(store.root / "in_progress" / "another.pt", outside)
    plant: dict[str, Callable[[], object]] = {
        "link": lambda: path.symlink_to(outside),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "text": lambda: path.write_text("a checkpoint"),
        "another training's": lambda: shutil.copy(outside, path),
    }
    plant[planted]()
    assert store.checkpoint(KEY).load() is None
    assert not os.path.lexists(path) and outside.exists()
    assert other.load() == {"progress": {"epoch": 1}}


def test_a_link_planted_where_a_lock_names_its_holder_is_not_written_through(store: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (store.root / "locks").mkdir(parents=True)
    (store.root / "locks" / f"{KEY}.holder").symlink_to(victim)
    with store.lock(KEY, "the original model"):
        assert victim.read_text() == "mine"
