"""Samples to forget: drawn, or read from files that anyone can share."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from unsir_bench.data.dataset import ImageData, LabelledImages
from unsir_bench.data.digits import Digits
from unsir_bench.data.forget_config import ForgetConfig
from unsir_bench.data.forget_requests import splits_of
from unsir_bench.data.forget_samples import KINDS, IndexFile, drawn
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import ConfigError

TRAIN = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
TEST = torch.tensor([0, 1, 2, 2])
NAMES = ("ant", "bee", "cat")
DATA = "00aa11bb22cc33dd"


def labelled(labels: torch.Tensor) -> LabelledImages:
    return LabelledImages(np.zeros((len(labels), 1, 1, 1), dtype=np.uint8), labels.numpy())


IMAGES = ImageData(labelled(TRAIN), labelled(TEST), NAMES, DATA)


def split_of(forget: ForgetConfig, seed: int = 0) -> ForgetSplit:
    [(split, so_far)] = splits_of(forget, IMAGES, Digits(), seed)
    assert split.fingerprint == so_far.fingerprint
    return split


def of_file(path: Path) -> ForgetConfig:
    return ForgetConfig(classes=None, file=str(path))


@pytest.mark.parametrize("suffix", KINDS)
def test_what_is_written_is_read_and_split_as_by_hand(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"forget{suffix}"
    test = () if suffix == ".npy" else (3,)
    IndexFile(DATA, (1, 3), test).write(path)
    split = split_of(of_file(path))
    assert split.classes == ()
    assert {name: indices.tolist() for name, indices in split.indices.items()} == {
        "retain_train": [0, 2, 4, 5, 6, 7],
        "forget_train": [1, 3],
        "retain_test": [index for index in range(4) if index not in test],
        "forget_test": list(test),
    }


def test_the_files_are_what_ten_lines_of_others_read(tmp_path: Path) -> None:
    for suffix in KINDS:
        IndexFile(DATA, (1, 3)).write(tmp_path / f"forget{suffix}")
    assert json.loads((tmp_path / "forget.json").read_text()) == {"data": DATA, "train": [1, 3], "test": []}
    assert np.load(tmp_path / "forget.npy").tolist() == [1, 3]
    table = pd.read_csv(tmp_path / "forget.csv")
    assert table[table.split == "train"]["index"].tolist() == [1, 3] and set(table.data) == {DATA}


def test_a_mark_that_a_spreadsheet_adds_does_not_hide_which_data_set_a_file_is_of(tmp_path: Path) -> None:
    path = tmp_path / "forget.csv"
    IndexFile(DATA, (1, 3), ()).write(path)
    path.write_bytes("\ufeff".encode() + path.read_bytes())
    assert IndexFile.read(path) == IndexFile(DATA, (1, 3), ())


def test_a_draw_depends_on_the_seed_alone_and_has_the_size_asked_for() -> None:
    assert torch.equal(drawn(None, 0.1, 1000, seed=3), drawn(100, None, 1000, seed=3))
    assert not torch.equal(drawn(100, None, 1000, seed=3), drawn(100, None, 1000, seed=4))
    found = drawn(100, None, 1000, seed=3)
    assert len(found.unique()) == 100 and torch.equal(found, found.sort().values)
    assert split_of(ForgetConfig(classes=None, count=2), seed=1).forget_test.tolist() == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"data": DATA, "train": [1, 1]}, "train index 1 is there twice"),
        ({"data": DATA, "train": [-2, 1]}, "train index -2 is negative"),
        ({"data": DATA, "train": []}, "names no training sample"),
        ({"data": DATA, "train": [1.5]}, "a list of whole numbers is needed"),
        ({"data": DATA}, "holds no list of indices"),
        ([1, 2], "holds no list of indices"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_before_any_work(
    tmp_path: Path, content: object, complaint: str
) -> None:
    path = tmp_path / "forget.json"
    path.write_text(json.dumps(content))
    [found] = ForgetConfig(classes=None, file=str(path)).problems(NAMES)
    assert complaint in found and found.startswith("forget.file=")


def archive() -> bytes:
    content = io.BytesIO()
    np.savez(content, train=np.arange(3))
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.npy", b""),
        ("archive.npy", archive()),
        ("cut off.npy", b"\x93NUMPY\x01\x00v\x00{'descr'"),
        ("long field.csv", b"data,split,index\n" + b"0" * 200_000 + b",train,1\n"),
        ("deep.json", b"[" * 100_000),
        ("many digits.json", b'{"train": [' + b"1" * 5000 + b"]}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_file_is_one_line_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    [found] = of_file(tmp_path / name).problems(NAMES)
    assert found.startswith(f"forget.file={tmp_path / name}: holds no list of indices (")


@pytest.mark.parametrize("index", [10**23, 2**64 - 1])
def test_an_index_beyond_64_bits_is_out_of_range_like_another(tmp_path: Path, index: int) -> None:
    (tmp_path / "large.json").write_text(json.dumps({"data": DATA, "train": [1, index]}))
    np.save(tmp_path / "large.npy", np.array([1, min(index, 2**64 - 1)], dtype=np.uint64))
    for name in ("large.json", "large.npy"):
        with pytest.raises(ConfigError, match=r"train index \d+ is out of range; there are 8 samples"):
            split_of(of_file(tmp_path / name))


def test_two_mistakes_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "forget.json"
    path.write_text(json.dumps({"train": [4, 4], "test": [-1]}))
    assert len(list(of_file(path).problems(NAMES))) == 2


@pytest.mark.parametrize("name", ["absent.json", "forget.txt"])
def test_an_absent_file_and_an_unknown_kind_are_one_clear_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "forget.txt").touch()
    [found] = of_file(tmp_path / name).problems(NAMES)
    assert found.startswith(f"forget.file={tmp_path / name}")


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.mkdir, (str(tmp_path / "made by the file"),)  # type: ignore[return-value]

    np.save(tmp_path / "forget.npy", np.array([Harmful()], dtype=object), allow_pickle=True)
    assert len(list(of_file(tmp_path / "forget.npy").problems(NAMES))) == 1
    assert not (tmp_path / "made by the file").exists()


def test_a_file_of_another_data_set_or_with_an_index_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "forget.json"
    IndexFile("another", (1,)).write(path)
    with pytest.raises(ConfigError, match="belongs to the data set another"):
        split_of(of_file(path))
    IndexFile(DATA, (8,), (4,)).write(path)
    with pytest.raises(ConfigError, match="train index 8 is out of range") as caught:
        split_of(of_file(path))
    assert "test index 4" in str(caught.value)


def test_a_class_must_keep_a_training_sample(tmp_path: Path) -> None:
    path = tmp_path / "forget.json"
    IndexFile(DATA, (2, 5)).write(path)
    with pytest.raises(ConfigError, match=r"class 2 \(cat\) would be retained; .*forget\.classes=\[2\]"):
        split_of(of_file(path))
    with pytest.raises(ConfigError, match=r"forget\.count=8: leaves none of the 8"):
        split_of(ForgetConfig(classes=None, count=8))
    with pytest.raises(ConfigError, match=r"forget\.share=0\.97: leaves none of the 8"):  # 7.76, rounded
        split_of(ForgetConfig(classes=None, share=0.97))


@pytest.mark.parametrize(
    "forget",
    [
        ForgetConfig(share=0.1),
        ForgetConfig(classes=None, share=0.1, count=3),
        ForgetConfig(classes=None, random_k=1, count=3),
    ],
)
def test_two_choices_at_once_are_refused(forget: ForgetConfig) -> None:
    [found] = forget.problems(NAMES)
    assert "set all but one to null" in found


def test_one_content_is_one_choice_however_it_is_written(tmp_path: Path) -> None:
    IndexFile(DATA, (1, 3)).write(tmp_path / "a.json")
    IndexFile(DATA, (1, 3)).write(tmp_path / "b.csv")
    IndexFile(DATA, (1, 4)).write(tmp_path / "c.csv")
    a, b, c = (of_file(tmp_path / name).by_index(lambda: NAMES) for name in ("a.json", "b.csv", "c.csv"))
    assert a == b != c
