"""Damage to the decoded cache of a folder of images: found when it is read, set aside, and decoded anew."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.damage import flipped, replaced_by_link, structural
from unsir_bench.data.dataset import content_hash
from unsir_bench.data.folders import ImageFolder
from unsir_bench.data.image_cache import CACHE_FOLDER
from unsir_bench.runtime.progress import Progress

FLIPS = 200
SEED = int(os.environ.get("UNSIR_BENCH_TEST_SEED", "0"))  # of the flips
ARRAYS = tuple(f"{split}_{what}.npy" for split in ("train", "test") for what in ("images", "labels"))
NAMES = (*ARRAYS, "manifest.json", "manifest.sha256")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for number in range(3):
                colour = (label, number, len(split))
                Image.new("RGB", (4, 4), colour).save(tmp_path / "set" / split / name / f"{number}.png")
    return tmp_path / "set"


def read(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels of both splits, after a check that the fingerprint is theirs."""
    data = ImageFolder(root=str(root)).load(Progress(interactive=False))
    assert data.fingerprint == content_hash(data.train, data.test)
    splits = (data.train, data.test)
    return np.concatenate([split.images for split in splits]), np.concatenate([split.labels for split in splits])


def cache(root: Path) -> Path:
    (folder,) = (path for path in (root / CACHE_FOLDER).iterdir() if path.is_dir() and path.name != "damaged")
    return folder


def assert_same(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], what: str) -> None:
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)), what


def test_no_single_flipped_bit_of_the_cache_is_used(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    draws, right = random.Random(SEED), read(root)
    folder = cache(root)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    for turn in range(FLIPS):
        path = folder / NAMES[turn % len(NAMES)]
        content = path.read_bytes()
        bit = draws.randrange(8 * len(content))
        path.write_bytes(flipped(content, bit))
        assert_same(read(root), right, f"bit {bit} of {path.name}")
        assert len(list((root / CACHE_FOLDER / "damaged").iterdir())) == turn + 1, f"bit {bit} of {path.name}"
    assert caplog.text.count(f"{folder} is damaged") == FLIPS


def by_another_cache(folder: Path) -> None:
    """A whole cache of other images under this one's name."""
    other = folder.parents[2] / "other"
    shutil.copytree(folder.parents[1], other, ignore=shutil.ignore_patterns(CACHE_FOLDER))
    Image.new("RGB", (4, 4), (9, 9, 9)).save(other / "train" / "cat" / "0.png")
    read(other)
    shutil.rmtree(folder)
    cache(other).rename(folder)


def by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


DAMAGES: dict[str, Callable[[Path], object]] = {
    **structural(NAMES),
    "another's cache": by_another_cache,
    "a link": replaced_by_link,
    "a file": by_file,
    "an empty folder": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_set_aside_and_decoded_anew(
    damage: str, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    right, folder = read(root), cache(root)
    DAMAGES[damage](folder)
    assert_same(read(root), right, damage)
    assert f"{folder} is damaged" in caplog.text
    assert [path.name.startswith(folder.name) for path in (root / CACHE_FOLDER / "damaged").iterdir()] == [True]
    caplog.clear()
    assert_same(read(root), right, damage)
    assert caplog.text == ""
