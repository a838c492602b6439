"""The cache of decoded images: read instead of decoding, made anew after each change, and never half written."""

import errno
import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.image_folders import QUIET, caches, colours, fill, forget_listings, load, save
from unsir_bench.data import decoded_cache, image_cache
from unsir_bench.data.dataset import content_hash
from unsir_bench.data.decoded_cache import DecodedCache
from unsir_bench.data.folders import ImageFolder
from unsir_bench.data.image_cache import CACHE_FOLDER
from unsir_bench.errors import DataError
from unsir_bench.runtime.locks import locked


def test_the_second_load_reads_the_cache_and_opens_no_image(split_root: Path, opened: list[str]):
    first, _ = load(split_root)
    assert len(set(opened)) == 3
    opened.clear()
    forget_listings()
    second, _ = load(split_root)
    assert opened == []
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_the_fingerprint_from_the_cache_is_that_of_the_pixels(split_root: Path):
    dataset = ImageFolder(root=str(split_root))
    for data in (dataset.load(QUIET), dataset.load(QUIET)):
        assert data.fingerprint == content_hash(data.train, data.test)


def test_the_cache_is_no_class_of_one_tree(tmp_path: Path):
    fill(tmp_path, {"a": 4, "b": 4})
    load(tmp_path, test_share=0.5)
    forget_listings()
    assert ImageFolder(root=str(tmp_path), test_share=0.5).class_names() == ("a", "b")


def test_a_changed_file_is_decoded_again(split_root: Path):
    load(split_root)
    changed = split_root / "train" / "dog" / "001.png"
    before = changed.stat()
    save(changed, (1, 99, 7))
    # The same size on disk and a later time: what an editor leaves behind.
    assert changed.stat().st_size == before.st_size
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    forget_listings()
    assert (1, 99, 7) in colours(load(split_root)[0])


@pytest.mark.parametrize("change", ["added", "removed", "renamed into the other class"])
def test_an_added_or_removed_or_moved_file_is_seen(split_root: Path, change: str):
    load(split_root)
    file = split_root / "train" / "dog" / "001.png"
    if change == "added":
        save(file.with_name("new.png"), (1, 50, 7))
    elif change == "removed":
        file.unlink()
    else:
        file.rename(split_root / "train" / "cat" / "moved.png")
    forget_listings()
    counts = {"added": {0: 3, 1: 4}, "removed": {0: 3, 1: 2}}.get(change, {0: 4, 1: 2})
    assert Counter(load(split_root)[0].labels.tolist()) == counts


def test_each_size_and_mode_has_a_cache_of_its_own(split_root: Path):
    options = [{}, {"image_size": 2}, {"mode": "L"}]
    shapes = [load(split_root, **option)[0].images.shape[1:] for option in options + options]
    assert shapes == [(3, 4, 4), (3, 2, 2), (1, 4, 4)] * 2
    assert len(caches(split_root)) == 3


def test_two_readers_at_once_decode_once(split_root: Path, opened: list[str]):
    load(split_root)
    alone = Counter(opened)
    shutil.rmtree(split_root / CACHE_FOLDER)
    opened.clear()
    gate, found = threading.Barrier(2), []

    def read() -> None:
        gate.wait()
        found.append(load(split_root)[0])

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert Counter(opened) == alone
    np.testing.assert_array_equal(found[0].images, found[1].images)


@pytest.mark.parametrize("moment", ["while decoding", "while hashing", "while writing the manifest"])
def test_an_interruption_leaves_no_half_written_cache(split_root: Path, monkeypatch: pytest.MonkeyPatch, moment: str):
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "while decoding":
            patch.setattr(DecodedCache, "_pixels", interrupt_at(4))
        elif moment == "while hashing":
            patch.setattr(decoded_cache, "content_hash", interrupted)
        else:
            patch.setattr(Path, "write_text", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(split_root)
    assert caches(split_root) == []
    assert len(load(split_root)[0]) == 6


def interrupt_at(call: int) -> Callable[[DecodedCache, Path], np.ndarray]:
    calls: list[Path] = []
    pixels = DecodedCache._pixels

    def decode(self: DecodedCache, path: Path) -> np.ndarray:
        calls.append(path)
        if len(calls) == call:
            raise KeyboardInterrupt
        return pixels(self, path)

    return decode


@pytest.mark.parametrize("obstacle", ["not writable", "cannot be made"])
def test_a_read_only_root_caches_in_the_users_folder(
    split_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str], obstacle: str
):
    monkeypatch.setattr(image_cache, "user_cache_path", lambda name: tmp_path / "user" / name)
    if obstacle == "not writable":
        really_access = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode: split_root not in Path(path).parents and really_access(path, mode)
        )
    else:
        (split_root / CACHE_FOLDER).write_text("a file where the folder should be")
    first, _ = load(split_root)
    opened.clear()
    second, _ = load(split_root)
    assert opened == []
    np.testing.assert_array_equal(first.images, second.images)
    assert list((tmp_path / "user" / "unsir-bench").glob("**/manifest.json"))
    assert not list(split_root.glob(f"{CACHE_FOLDER}/*"))


def test_a_full_disk_names_the_only_key_that_makes_decoded_images_smaller(
    split_root: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(image_cache.os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"make room there, or choose a smaller dataset\.image_size$"):
        load(split_root)
    assert caches(split_root) == []


def test_what_a_killed_process_left_is_removed_by_the_next(split_root: Path):
    load(split_root)
    [folder] = caches(split_root)
    folder.rename(folder.with_name(f".building-{folder.name}"))
    load(split_root)
    assert caches(split_root) == [folder]


def test_who_waits_for_another_reader_is_told_of_it(split_root: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="unsir_bench")
    load(split_root)
    [folder] = caches(split_root)
    reader = threading.Thread(target=load, args=(split_root,))
    with locked(folder.parent, folder.name, "it"):
        reader.start()
        for _ in range(600):
            if "waiting for" in caplog.text:
                break
            reader.join(0.05)
    reader.join(60)
    assert not reader.is_alive()
    assert f"waiting for process {os.getpid()} on " in caplog.text
    assert f"which is making or reading {folder}" in caplog.text
