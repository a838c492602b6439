"""Folders whose files have equal names and sizes: a run is of its pixels and labels, not of its files."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from PIL import Image

from unsir_bench.cli.bootstrap import compose
from unsir_bench.cli.recorded_config import CannotRepeatError, config_of
from unsir_bench.config import Config, typed, validate
from unsir_bench.data import dataset
from unsir_bench.data.decoded_cache import DecodedCache
from unsir_bench.data.folders import ImageFolder
from unsir_bench.data.image_cache import CACHE_FOLDER
from unsir_bench.data.look_again import look_again
from unsir_bench.errors import ConfigError
from unsir_bench.records import RECORD_FILE, RunRecord
from unsir_bench.report.tables.sweep import write_sweep_table
from unsir_bench.runner import run
from unsir_bench.runs.finished_runs import finished_run
from unsir_bench.runtime.progress import Progress
from unsir_bench.sweeps.outcome import SweepJob

LONG_AGO = 1_000_000_000


def composed(*overrides: str) -> Config:
    """By Hydra alone: the project's own `compose` looks at images anew."""
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        return typed(hydra_compose("config", list(overrides)))


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
    look_again()
    dataset._LAST_LOADED.clear()


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    forget_what_was_read()
    bitmaps(tmp_path / "first", 0)
    return [
        "dataset=image_folder", "model=allcnn_tiny", "method=logit_mask", "train=smoke", "metrics=fast", "tracker=none",
        "hardware=cpu", f"outputs={tmp_path}/out", f"store.root={tmp_path}/store",
    ]  # fmt: skip


def test_two_folders_of_the_same_names_and_sizes_are_two_runs_of_one_sweep_and_a_copy_is_none(
    tmp_path: Path, words: list[str]
) -> None:
    bitmaps(tmp_path / "other", 1)
    configs = [composed(*words, f"dataset.root={tmp_path}/{root}") for root in ("first", "other")]
    records = [run(config) for config in configs]
    assert [record.status for record in records] == ["done", "done"]
    assert len({record.run_id for record in records}) == len({record.fingerprints["data"] for record in records}) == 2
    for config, record in zip(configs, records, strict=True):
        assert config.run_id == record.run_id
        assert record.config["dataset"]["content"] == record.fingerprints["data"]
        assert SweepJob.of((), config).finished == "done"
        assert RunRecord.read(config.folder / RECORD_FILE).digest == record.digest

    shutil.copytree(tmp_path / "first", tmp_path / "copy", ignore=shutil.ignore_patterns(CACHE_FOLDER))
    copy = composed(*words, f"dataset.root={tmp_path}/copy")
    assert run(copy).digest == records[0].digest
    assert len(list((tmp_path / "out" / "runs").glob("*/record.json"))) == 2

    write_sweep_table(tmp_path / "out" / "runs")
    header, _, *rows = [
        [cell.strip() for cell in line.split("|")]
        for line in (tmp_path / "out" / "runs" / "table.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    assert [row[header.index("n")] for row in rows if "logit_mask" in row] == ["1", "1"]


def test_a_notebook_that_composes_again_sees_the_folder_as_it_is(tmp_path: Path, words: list[str]) -> None:
    """One process, which keeps listings for its sweeps."""
    words = [*words, f"dataset.root={tmp_path}/first"]
    before = compose(words)
    Image.new("RGB", (16, 16), (1, 2, 3)).save(tmp_path / "first/train/b/2.bmp")
    shutil.copy(tmp_path / "first/train/a/1.bmp", tmp_path / "first/train/a/new.bmp")
    now = compose(words)
    assert now.run_id != before.run_id and now.dataset.content_identity() != before.dataset.content_identity()
    assert len(dataset.load_cached(now.dataset, Progress(interactive=False)).train) == 13

    damaged = tmp_path / "first/train/a/new.bmp"
    damaged.write_bytes(b"BM no picture")
    with pytest.raises(ConfigError, match="1 of 13 images"):
        compose(words)
    damaged.unlink()
    assert compose(words).dataset.content_identity() not in (None, now.dataset.content_identity())


@pytest.mark.parametrize("how", ["time", "size"])
def test_a_file_replaced_in_place_makes_another_run_and_the_first_is_kept(
    tmp_path: Path, words: list[str], how: str
) -> None:
    before = run(composed(*words, f"dataset.root={tmp_path}/first"))
    path = tmp_path / "first" / "train" / "b" / "2.bmp"
    size = path.stat().st_size
    Image.new("RGB", (16, 16), (1, 2, 3)).save(path)  # its time of change is now
    assert path.stat().st_size == size
    if how == "size":  # bytes behind the pixels
        path.write_bytes(path.read_bytes() + b"more")
        os.utime(path, (LONG_AGO, LONG_AGO))
    forget_what_was_read()
    now = composed(*words, f"dataset.root={tmp_path}/first")
    assert now.run_id != before.run_id
    assert finished_run(now) is None
    assert run(now).status == "done"
    assert RunRecord.read(now.folder.with_name(before.run_id) / RECORD_FILE).digest == before.digest


def named_by_files(config: Config) -> Config:
    """As before ids knew the content of images."""
    assert isinstance(config.dataset, ImageFolder)
    return replace(config, dataset=replace(config.dataset, content=None))


def test_runs_named_by_their_files_are_finished_for_these_images_and_for_no_others(
    tmp_path: Path, words: list[str]
) -> None:
    known = composed(*words, f"dataset.root={tmp_path}/first", "metrics.outputs=true")
    older = run(named_by_files(known))
    assert older.run_id != known.run_id
    assert run(known).digest == older.digest

    fewer = composed(*words, f"dataset.root={tmp_path}/first")
    assert fewer.run_id != known.run_id
    found = finished_run(fewer)  # the older record has all of its metrics
    assert found is not None and found.run_id == older.run_id

    other = composed(*words, f"dataset.root={bitmaps(tmp_path / 'other', 1)}", "metrics.outputs=true")
    others_older = named_by_files(other)
    assert others_older.run_id == older.run_id
    assert finished_run(other) is None
    with pytest.raises(ConfigError, match=r"dataset.root=.*other: .* is finished, of other images .*sweep=NAME"):
        run(others_older)
    assert run(other).run_id == other.run_id != older.run_id

    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    copy = finished_run(composed(*words, f"dataset.root={tmp_path}/copy"))
    assert copy is not None and copy.digest == older.digest


def test_a_record_tells_its_id_where_its_images_are_gone_and_is_not_repeated_with_others(
    tmp_path: Path, words: list[str]
) -> None:
    record = run(composed(*words, f"dataset.root={tmp_path}/first"))
    shutil.rmtree(tmp_path / "first")
    forget_what_was_read()
    with pytest.raises(CannotRepeatError, match="there is no such folder"):
        config_of(record)
    with pytest.raises(CannotRepeatError, match=f"dataset.content={record.fingerprints['data']}: .* are others"):
        config_of(record, {"dataset.root": str(bitmaps(tmp_path / "other", 1))})
    assert config_of(record, {"dataset.root": str(bitmaps(tmp_path / "again", 0))}).run_id == record.run_id


def test_images_that_change_after_the_sweep_began_are_refused_by_the_run(tmp_path: Path, words: list[str]) -> None:
    config = composed(*words, f"dataset.root={tmp_path}/first")
    Image.new("RGB", (16, 16), (1, 2, 3)).save(tmp_path / "first/test/a/0.bmp")
    forget_what_was_read()
    record = run(config)
    assert record.status == "failed"
    assert f"dataset.content={config.dataset.content_identity()}: the images" in str(record.reason)
    with pytest.raises(ConfigError, match=r"dataset.content=abc: the images of image_folder are others"):
        composed(*words, f"dataset.root={tmp_path}/first", "dataset.content=abc")


def test_images_that_cannot_be_used_are_told_of_both_splits_before_any_run_and_decoded_once(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("train/c/3.bmp", "test/a/1.bmp"):
        (tmp_path / "first" / name).write_bytes(b"BM no picture")
    for _ in ("the first run of a sweep", "the second"):
        with pytest.raises(ConfigError) as caught:
            composed(*words, f"dataset.root={tmp_path}/first")
        assert "train/c/3.bmp (" in str(caught.value) and "test/a/1.bmp (" in str(caught.value)
        monkeypatch.setattr(DecodedCache, "_pixels", lambda *_: pytest.fail("decoded again"))


@pytest.mark.parametrize("mistake", ["forget.classes=[d]", "train.lr=-1", "dataset.on_bad_image=typo", "model.width=0"])
def test_a_wrong_setting_is_refused_before_an_image_is_decoded(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    monkeypatch.setattr(DecodedCache, "_pixels", lambda *_: pytest.fail("decoded"))
    config = composed(*words, f"dataset.root={tmp_path}/first", mistake)
    with pytest.raises(ConfigError, match=f"1 setting is wrong(?s:.)*{mistake.partition('=')[0]}"):
        validate(config)


def test_folders_that_share_a_place_for_decoded_images_do_not_share_those(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bitmaps(tmp_path / "other", 1)
    shared = tmp_path / "home"
    shared.mkdir()
    monkeypatch.setattr("unsir_bench.data.decoded_cache.cache_root", lambda _: shared)
    contents = [composed(*words, f"dataset.root={tmp_path}/{root}").run_id for root in ("first", "other", "first")]
    assert contents[0] == contents[2] != contents[1]


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
    run(composed(*words, f"dataset.root={tmp_path}/first"))
    forget_what_was_read()
    for reader in ("unsir_bench.runs.finished_runs.load_cached", "unsir_bench.data.decoded_cache.DecodedCache.read"):
        monkeypatch.setattr(reader, lambda *_: pytest.fail("the images were read"))
    assert finished_run(composed(*words, f"dataset.root={tmp_path}/first")) is not None
