"""Folders whose files have equal names and sizes: a finished run is never taken for one of other images."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_runner import composed
from unsir_bench.data import dataset, folder_listing
from unsir_bench.errors import ConfigError
from unsir_bench.report.tables.sweep import write_sweep_table
from unsir_bench.runner import run
from unsir_bench.runs.finished_runs import finished_run
from unsir_bench.sweeps.outcome import SweepJob

LONG_AGO = 1_000_000_000


def bitmaps(root: Path, seed: int) -> Path:
    """Images of a format whose files have one size, last changed long ago."""
    draw = np.random.default_rng(seed)
    for split in ("train", "test"):
        for name in ("a", "b", "c"):
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(4):
                path = root / split / name / f"{number}.bmp"
                Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
                os.utime(path, (LONG_AGO, LONG_AGO))
    return root


def forget_what_was_read() -> None:
    folder_listing.listed.cache_clear()
    dataset._LAST_LOADED.clear()


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    forget_what_was_read()
    bitmaps(tmp_path / "first", 0)
    return [
        "dataset=image_folder", "model=allcnn_tiny", "method=logit_mask", "train=smoke", "metrics=fast", "tracker=none",
        "hardware=cpu", f"outputs={tmp_path}/out", f"store.root={tmp_path}/store",
    ]  # fmt: skip


def test_another_folder_of_the_same_names_and_sizes_is_refused_and_a_copy_is_not(
    tmp_path: Path, words: list[str]
) -> None:
    first = composed(*words, f"dataset.root={tmp_path}/first")
    assert run(first).status == "done"

    other = composed(*words, f"dataset.root={bitmaps(tmp_path / 'other', 1)}")
    assert other.run_id == first.run_id
    with pytest.raises(ConfigError, match=r"dataset.root=.*other: .* is finished, of other images .*dataset.name=NAME"):
        run(other)
    with pytest.raises(ConfigError):
        _ = SweepJob.of((), other)

    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    copy = finished_run(composed(*words, f"dataset.root={tmp_path}/copy"))
    assert copy is not None and copy.digest == run(first).digest

    named = composed(*words, f"dataset.root={tmp_path}/other", "dataset.name=other")
    assert run(named).fingerprints["data"] != copy.fingerprints["data"]


def test_files_replaced_by_others_of_the_same_size_are_noticed(tmp_path: Path, words: list[str]) -> None:
    config = composed(*words, f"dataset.root={tmp_path}/first")
    run(config)
    name = tmp_path / "first" / "train" / "b" / "2.bmp"
    before = name.stat().st_size
    Image.new("RGB", (16, 16), (1, 2, 3)).save(name)  # its time of change is now
    assert name.stat().st_size == before
    forget_what_was_read()
    with pytest.raises(ConfigError, match="of other images"):
        finished_run(config)


def test_two_folders_and_one_that_grew_are_rows_of_their_own_in_the_sweep_s_table(
    tmp_path: Path, words: list[str]
) -> None:
    bitmaps(tmp_path / "second", 1)
    shutil.copy(tmp_path / "second/train/b/0.bmp", tmp_path / "second/train/b/more.bmp")
    contents = []
    for root in ("first", "second", "first"):
        forget_what_was_read()
        contents.append(run(composed(*words, f"dataset.root={tmp_path}/{root}")).fingerprints["data"])
        shutil.copy(tmp_path / "first/train/a/1.bmp", tmp_path / "first/train/a/new.bmp")  # it grew
    assert len(set(contents)) == 3
    write_sweep_table(tmp_path / "out" / "runs")
    rows = (tmp_path / "out" / "runs" / "table.md").read_text(encoding="utf-8").splitlines()
    mine = [row for row in rows if "logit_mask" in row]
    assert len(mine) == 3
    assert all(any(f"root={tmp_path}/{root}" in row for row in mine) for root in ("first", "second"))
    assert sum(f"content={content[:8]}" in row for row in mine for content in contents if content) == 2


def test_unchanged_images_are_not_read_to_find_a_finished_run(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed(*words, f"dataset.root={tmp_path}/first")
    run(config)
    forget_what_was_read()
    monkeypatch.setattr("unsir_bench.runs.finished_runs.load_cached", lambda *_: pytest.fail("the images were read"))
    assert finished_run(config) is not None
