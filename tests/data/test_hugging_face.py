"""Data sets of the library `datasets`, from local Parquet files; what is wrong is one line."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unsir_bench.config_fields import identity
from unsir_bench.data import hugging_face
from unsir_bench.data.dataset import ImageData
from unsir_bench.data.hugging_face import HuggingFaceSet
from unsir_bench.data.look_again import look_again
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

datasets = pytest.importorskip("datasets", reason="the extra `data` is not installed")
QUIET = Progress(interactive=False)
COUNTS = {"train": 9, "validation": 6}


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_again()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "arrow"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def pixels(split: str, row: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng([seed, len(split), row])
    return draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)


def bitmap(split: str, row: int, seed: int = 0) -> dict[str, Any]:
    """A lossless file of a size that does not depend on its pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels(split, row, seed)).save(buffer, "BMP")
    return {"bytes": buffer.getvalue(), "path": None}


def parquet(folder: Path, labels: Any = None, seed: int = 0) -> Path:
    """A set with a split named validation, and columns ``picture`` and ``kind``."""
    folder.mkdir(parents=True, exist_ok=True)
    label = labels or datasets.ClassLabel(names=["zebra", "ant", "bee"])
    values = labels and {"string": ["x", "b", "a/c"], "int64": [30, 4, 7]}[labels.dtype]
    features = datasets.Features({"picture": datasets.Image(), "kind": label, "other": datasets.Value("int64")})
    for split, count in COUNTS.items():
        kinds = [values[row % 3] if values else row % 3 for row in range(count)]
        images = [bitmap(split, row, seed) for row in range(count)]
        columns = {"picture": images, "kind": kinds, "other": list(range(count))}
        made = datasets.Dataset.from_dict(columns, features=features)
        made.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def config(folder: Path, **options: Any) -> HuggingFaceSet:
    given = {"path": str(folder), "image_column": "picture", "label_column": "kind", "test_split": "validation"}
    return HuggingFaceSet(**{**given, **options})


def load(folder: Path, **options: Any) -> ImageData:
    return config(folder, **options).load(QUIET)


@pytest.mark.parametrize(("train", "test", "lacks"), [("train", "train[:1]", "test"), ("train[:2]", "train", "train")])
def test_a_class_that_one_split_lacks_is_named_before_any_work(
    tmp_path: Path, train: str, test: str, lacks: str
) -> None:
    """Rows that are sorted by class, cut in two, give a class that is never seen, or never asked for."""
    with pytest.raises(DataError, match=rf"dataset\.{lacks}_split=.* has no row of .* classes .*sorted by class"):
        load(parquet(tmp_path / "set"), train_split=train, test_split=test)


@pytest.mark.parametrize(
    ("train", "test", "shared"),
    [
        ("train", "train", 9),
        ("train[:6]", "train[3:]", 3),
        ("train[:6]+validation", "train[6:]+validation[:3]", 3),
        ("all", "validation", 6),
        ("train[:67%]", "train[-6:]", 3),
    ],
)
def test_a_row_of_both_splits_is_refused_naming_both_keys(tmp_path: Path, train: str, test: str, shared: int) -> None:
    with pytest.raises(DataError) as caught:
        load(parquet(tmp_path / "set"), train_split=train, test_split=test)
    assert f"dataset.train_split={train}, dataset.test_split={test}: share {shared} rows" in str(caught.value)


def test_parts_of_one_split_that_share_no_row_are_taken(tmp_path: Path) -> None:
    data = load(parquet(tmp_path / "set"), train_split="train[:6]+validation", test_split="train[6:]")
    assert (len(data.train), len(data.test)) == (12, 3)


def test_images_and_labels_are_those_of_the_rows_in_the_order_of_the_class_labels(tmp_path: Path) -> None:
    data = load(parquet(tmp_path / "set"))
    assert data.class_names == ("zebra", "ant", "bee")
    for split, loaded in (("train", data.train), ("validation", data.test)):
        expected = [pixels(split, row).transpose(2, 0, 1) for row in range(COUNTS[split])]
        assert np.array_equal(loaded.images, expected)
        assert loaded.labels.tolist() == [row % 3 for row in range(COUNTS[split])]


@pytest.mark.parametrize(
    ("kind", "names", "labels"), [("string", ("a/c", "b", "x"), [2, 1, 0]), ("int64", ("4", "7", "30"), [2, 0, 1])]
)
def test_labels_without_names_are_classes_in_sorted_order(
    kind: str, names: tuple[str, ...], labels: list[int], tmp_path: Path
) -> None:
    data = load(parquet(tmp_path / "set", datasets.Value(kind)))
    assert data.class_names == names
    assert data.train.labels.tolist() == labels * 3


def test_a_part_of_a_split_and_the_options_of_pictures(tmp_path: Path) -> None:
    data = load(parquet(tmp_path / "set"), train_split="train[:6]", image_size=4, mode="L")
    assert data.train.images.shape == (6, 1, 4, 4)


def test_the_second_load_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(parquet(tmp_path / "set"))
    monkeypatch.setattr(hugging_face._RowCache, "_pixels", lambda *_: pytest.fail("decoded again"))
    assert load(tmp_path / "set").fingerprint == first.fingerprint


def test_other_images_of_equal_sizes_have_another_fingerprint_and_a_copy_has_the_same(tmp_path: Path) -> None:
    first, copy = (load(parquet(tmp_path / name)) for name in ("first", "copy"))
    other = load(parquet(tmp_path / "other", seed=1))
    assert first.fingerprint == copy.fingerprint != other.fingerprint
    ids = [identity(config(tmp_path / name)) for name in ("first", "copy")]
    assert ids[0] == ids[1]
    assert identity(config(tmp_path / "first", train_split="train[:6]")) != ids[0]


def written(folder: Path, images: list[Any], labels: list[Any], kind: Any) -> Path:
    """A set of the same rows in both splits."""
    features = datasets.Features({"picture": datasets.Image(), "kind": kind})
    folder.mkdir()
    for split in COUNTS:
        columns = {"picture": images, "kind": labels}
        datasets.Dataset.from_dict(columns, features=features).to_parquet(folder / f"{split}-0.parquet")
    return folder


def rows_of(count: int) -> list[Any]:
    return [bitmap("train", row) for row in range(count)]


@pytest.mark.parametrize(
    ("row", "reason"), [({"bytes": b"no picture", "path": None}, "cannot identify"), (None, "the row has no image")]
)
def test_a_damaged_row_and_one_without_an_image_are_named_or_left_out(tmp_path: Path, row: Any, reason: str) -> None:
    rows = rows_of(6)
    rows[4] = row
    folder = written(tmp_path / "set", rows, [0, 1] * 3, datasets.ClassLabel(names=["a", "b"]))
    with pytest.raises(DataError, match=rf"1 of 6 images under dataset.path=.*(?s:.)  - train/a/4 \({reason}"):
        load(folder)
    assert len(load(folder, on_bad_image="skip").train) == 5


def test_a_listed_file_that_is_gone_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(b"12345")
    paths = (str(tmp_path / "there.png"), str(tmp_path / "gone.png"), None)
    assert [hugging_face._size_of(path) for path in paths] == [5, 0, 0]


def test_labels_that_a_path_would_swallow_are_classes_like_others(tmp_path: Path) -> None:
    data = load(written(tmp_path / "set", rows_of(6), [".", "", ".."] * 2, datasets.Value("string")))
    assert data.class_names == ("", ".", "..")
    assert data.train.labels.tolist() == [1, 0, 2] * 2
    assert np.array_equal(data.train.images, [pixels("train", row).transpose(2, 0, 1) for row in range(6)])


def test_a_column_of_lists_is_no_column_of_labels(tmp_path: Path) -> None:
    folder = written(tmp_path / "set", rows_of(2), [[0], [1]], datasets.List(datasets.Value("int64")))
    with pytest.raises(DataError, match=r"dataset.label_column=kind: .* has no single value in each row"):
        load(folder)


def test_names_of_classes_without_any_row_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = written(tmp_path / "set", rows_of(4), [0, 2] * 2, datasets.ClassLabel(names=["a", "b", "c", "d"]))
    assert config(folder).class_names() == ("a", "b", "c", "d")
    assert "dataset.label_column=kind: names 2 classes of which there is no row (b, d)" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": ""}, "dataset.path is not set"),
        ({"path": "/nowhere/at/all"}, r"dataset.path=/nowhere/at/all, dataset.train_split=train: cannot be loaded"),
        ({"test_split": "test"}, r"dataset.test_split=test: cannot be loaded .*validation"),
        ({"image_column": "image"}, r"dataset.image_column=image: .* has the columns picture, kind, other"),
        ({"label_column": "labels"}, r"dataset.label_column=labels: .* has the columns picture, kind, other"),
        ({"image_column": "other"}, r"dataset.image_column=other: .* has no images there"),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_line(options: dict[str, str], words: str, tmp_path: Path) -> None:
    folder = parquet(tmp_path / "set")
    with pytest.raises(DataError, match=words) as caught:
        load(folder, **options)
    assert len(str(caught.value).splitlines()) == 1
    assert config(folder, **options).content_identity() == "missing"


def test_a_split_without_labels_is_refused(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "set", datasets.Value("int64"))
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.Value("int64")})
    unlabelled = {"picture": [bitmap("test", row) for row in range(3)], "kind": [None] * 3}
    datasets.Dataset.from_dict(unlabelled, features=features).to_parquet(folder / "validation-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"dataset.test_split=validation: has rows without a label"):
        load(folder)


@pytest.mark.parametrize("named", [True, False])
def test_minus_one_is_no_label_where_classes_have_names_and_a_class_where_they_are_numbers(
    tmp_path: Path, named: bool
) -> None:
    kind = datasets.ClassLabel(names=["ant", "bee"]) if named else datasets.Value("int64")
    features = datasets.Features({"picture": datasets.Image(), "kind": kind})
    folder = tmp_path / "set"
    folder.mkdir()
    for split in COUNTS:
        rows = {"picture": [bitmap(split, row) for row in range(4)], "kind": [-1, 1, 1, -1]}
        made = datasets.Dataset.from_dict(rows, features=features)
        made.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    if named:
        with pytest.raises(DataError, match="has rows without a label"):
            load(folder)
    else:
        found = load(folder)
        assert (found.class_names, found.train.labels.tolist()) == (("-1", "1"), [0, 1, 1, 0])


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"dataset=hf needs the package datasets .*pip install 'unsir-bench\[data\]'"):
        load(tmp_path)
