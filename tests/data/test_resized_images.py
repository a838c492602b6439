"""A large set is resized once into a cache; what is read from there is what resizing in memory gives."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unsir_bench.data import image_cache, resized_images
from unsir_bench.data.dataset import DatasetConfig, ImageData, LabelledImages, RawData, content_hash
from unsir_bench.data.image_cache import CACHE_FOLDER
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

QUIET = Progress(interactive=False)


@dataclass
class Noise(DatasetConfig):
    """Grey noise of 9x7 pixels: 12 training and 6 test images of 3 classes."""

    name: str = "noise"

    def class_names(self) -> tuple[str, ...]:
        return ("a", "b", "c")

    def read(self, progress: Progress) -> RawData:
        draw = np.random.default_rng(0)
        train, test = (
            LabelledImages(draw.integers(0, 256, (count, 1, 7, 9), dtype=np.uint8), np.arange(count) % 3)
            for count in (12, 6)
        )
        return RawData(train, test, self.class_names())


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a small set is cached, two images at a time."""
    monkeypatch.setattr(resized_images, "CACHED_FROM", 0)
    monkeypatch.setattr(resized_images, "AT_ONCE", 2 * 4 * 20**2)


def load(root: Path, **options: Any) -> ImageData:
    return Noise(root=str(root), image_size=20, **options).load(QUIET)


def same(first: ImageData, second: ImageData) -> bool:
    pairs = ((first.train, second.train), (first.test, second.test))
    alike = all(np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels) for a, b in pairs)
    return alike and first.fingerprint == second.fingerprint


@pytest.mark.parametrize(
    "options", [{}, {"color": "rgb"}, {"subset": 2}, {"validation_share": 0.25}, {"subset": 2, "color": "rgb"}], ids=str
)
def test_the_cache_holds_what_resizing_in_memory_gives(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = load(tmp_path, **options)
    assert not (tmp_path / CACHE_FOLDER).exists()
    monkeypatch.setattr(resized_images, "CACHED_FROM", 0)
    monkeypatch.setattr(resized_images, "AT_ONCE", 1)
    assert same(load(tmp_path, **options), in_memory)
    assert same(load(tmp_path, **options), in_memory)


def test_pixels_are_those_of_one_resizing_of_all_and_of_the_rule_before(tmp_path: Path, cached: None) -> None:
    raw = Noise().read(QUIET)
    pixels = torch.from_numpy(raw.train.images).float()
    expected = F.interpolate(pixels, (20, 20), mode="bilinear", antialias=True, align_corners=False).round().byte()
    found = load(tmp_path)
    assert np.array_equal(found.train.images, expected.numpy())
    assert found.fingerprint == content_hash(found.train, found.test)


def test_the_second_load_resizes_nothing_and_reads_from_disk(
    tmp_path: Path, cached: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tmp_path)
    monkeypatch.setattr(resized_images, "_pieces", lambda *_: pytest.fail("resized again"))
    assert isinstance(load(tmp_path).train.images, np.memmap)


def test_other_images_another_size_and_another_subset_have_caches_of_their_own(tmp_path: Path, cached: None) -> None:
    load(tmp_path)
    load(tmp_path, subset=2)
    Noise(root=str(tmp_path), image_size=10).load(QUIET)
    assert len(list((tmp_path / CACHE_FOLDER).glob("*/manifest.json"))) == 3


def test_a_damaged_cache_is_set_aside_and_made_again(
    tmp_path: Path, cached: None, caplog: pytest.LogCaptureFixture
) -> None:
    before = load(tmp_path)
    content = np.array(before.train.images)
    (path,) = (tmp_path / CACHE_FOLDER).glob("*/train_images.npy")
    flipped = bytearray(path.read_bytes())
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    assert np.array_equal(load(tmp_path).train.images, content)
    assert "is damaged (train_images.npy does not match its hash)" in caplog.text


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, cached: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(image_cache.os, "posix_fallocate", full)
    with pytest.raises(
        DataError, match=r"GB for decoded images cannot be had \(No space left on device\); make room"
    ) as caught:
        load(tmp_path)
    assert str(caught.value).endswith("choose a smaller dataset.image_size or dataset.subset")
    assert [path.name for path in (tmp_path / CACHE_FOLDER).iterdir() if path.is_dir()] == []


def test_a_read_only_root_has_its_cache_in_the_user_s_folder(
    tmp_path: Path, cached: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "user_cache_path", lambda name: tmp_path / "user" / name)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / CACHE_FOLDER).write_text("a file where the folder should be")
    load(tmp_path / "data")
    assert list((tmp_path / "user" / "unsir-bench" / "decoded").glob("*/manifest.json"))


def test_a_set_of_the_right_size_is_passed_on(tmp_path: Path, cached: None) -> None:
    raw = Noise().read(QUIET)
    square = RawData(
        LabelledImages(raw.train.images[..., :7], raw.train.labels),
        LabelledImages(raw.test.images[..., :7], raw.test.labels),
        raw.class_names,
    )  # fmt: skip
    assert resized_images.resized(square, 7, str(tmp_path), QUIET) is square
