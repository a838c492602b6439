"""Classes in classes: folders of two levels, CIFAR-100 under its coarse classes, and columns of attributes.csv."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unsir_bench.data.attribute_file import attribute_of_files
from unsir_bench.data.cifar20 import CIFAR20_CLASSES, COARSE_OF_FINE, Cifar20, Cifar20Folder
from unsir_bench.data.dataset import SUBCLASS
from unsir_bench.data.folder_listing import ImageFile
from unsir_bench.data.folders import ImageFolder, TwoLevelFolder
from unsir_bench.data.forget_config import ForgetConfig
from unsir_bench.data.look_again import look_again
from unsir_bench.data.torchvision_sets import CIFAR100_CLASSES
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

QUIET = Progress(interactive=False)
TREE = {"pets": ("cat", "dog"), "farm": ("cow", "hen", "pig")}


def save(path: Path, red: int = 0, green: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (red, green, 0)).save(path)
    return path


def fill(root: Path, count: int = 4) -> Path:
    """Red is the outer folder and green the inner one, each in alphabetical order."""
    for red, outer in enumerate(sorted(TREE)):
        for green, inner in enumerate(sorted(TREE[outer])):
            for number in range(count):
                save(root / outer / inner / f"{number}.png", red, green)
    return root


def subclasses_by_colour(split: np.ndarray) -> list[str]:
    outer = sorted(TREE)
    return [f"{outer[red]}/{sorted(TREE[outer[red]])[green]}" for red, green in split[:, :2, 0, 0].tolist()]


@pytest.mark.parametrize("layout", ["one tree", "train and test"])
@pytest.mark.parametrize("options", [{}, {"subset": 3}, {"validation_share": 0.5}], ids=str)
def test_each_sample_knows_its_class_and_sub_class_whatever_the_options(
    tmp_path: Path, layout: str, options: dict[str, float]
) -> None:
    for folder in ("",) if layout == "one tree" else ("train", "test"):
        fill(tmp_path / folder)
    dataset = TwoLevelFolder(root=str(tmp_path), test_share=0.5, **options)  # type: ignore[arg-type]
    assert dataset.class_names() == ("farm", "pets")
    assert dataset.subclass_names() == ("farm/cow", "farm/hen", "farm/pig", "pets/cat", "pets/dog")
    data = dataset.load(QUIET)
    known = dataset.attribute_of(data, SUBCLASS)
    for name, split in (("train", data.train), ("test", data.test)):
        assert known[name].tolist() == subclasses_by_colour(split.images)
        assert split.labels.tolist() == split.images[:, 0, 0, 0].tolist()


def test_a_sub_class_has_one_index_in_either_layout(tmp_path: Path) -> None:
    names = ("a/x", "a/z", "a b/y", "a-c/w")
    for name, number in itertools.product(names, range(2)):
        for folder in ("tree", "split/train", "split/test"):
            save(tmp_path / folder / name / f"{number}.png")
    tree, split = (TwoLevelFolder(root=str(tmp_path / place), test_share=0.5) for place in ("tree", "split"))
    assert tree.subclass_names() == split.subclass_names() == names
    assert tree.class_names() == split.class_names() == ("a", "a b", "a-c")


def test_an_image_above_the_sub_classes_and_a_single_class_are_errors(tmp_path: Path) -> None:
    save(fill(tmp_path / "a") / "farm" / "stray.png")
    with pytest.raises(DataError, match=r"farm holds images itself; two levels"):
        TwoLevelFolder(root=str(tmp_path / "a")).class_names()
    for inner in "xy":
        for number in range(2):
            save(tmp_path / "b" / "only" / inner / f"{number}.png")
    with pytest.raises(DataError, match="1 classes above the sub-classes"):
        TwoLevelFolder(root=str(tmp_path / "b"), test_share=0.5).class_names()


# CIFAR-100 under its coarse classes


def test_the_coarse_classes_are_twenty_of_five_fine_ones_each() -> None:
    assert set(COARSE_OF_FINE) == set(CIFAR100_CLASSES) and len(CIFAR20_CLASSES) == 20
    assert set(Counter(COARSE_OF_FINE.values()).values()) == {5}


# The coarse label of each fine one as public code lists them, in alphabetical order of the fine names.
LISTED = """
4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5
19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15
13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13
"""


def test_the_coarse_labels_are_those_that_public_code_lists() -> None:
    assert list(Cifar20.coarse) == [int(word) for word in LISTED.split()]


def test_folders_of_fine_classes_are_read_under_the_coarse_ones(tmp_path: Path) -> None:
    for split, fine in itertools.product(("train", "test"), ("whale", "seal", "apple", "worm")):
        save(tmp_path / split / fine / "0.png")
    dataset = Cifar20Folder(root=str(tmp_path))
    data = dataset.load(QUIET)
    assert dataset.class_names() == CIFAR20_CLASSES and dataset.subclass_names() == ("apple", "seal", "whale", "worm")
    assert [CIFAR20_CLASSES[label] for label in data.train.labels] == [
        "fruit_and_vegetables", "aquatic_mammals", "aquatic_mammals", "non-insect_invertebrates",
    ]  # fmt: skip
    assert dataset.attribute_of(data, SUBCLASS)["test"].tolist() == ["apple", "seal", "whale", "worm"]
    fine = ImageFolder(root=str(tmp_path)).load(QUIET)
    assert fine.fingerprint != data.fingerprint  # the same pixels under other labels are another data set
    save(tmp_path / "train" / "cat" / "0.png")
    save(tmp_path / "test" / "cat" / "0.png")
    look_again()
    with pytest.raises(DataError, match="cat: no fine class of CIFAR-100"):
        dataset.class_names()


def test_torchvision_s_fine_labels_become_coarse_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Files:
        def __init__(self, root: str, train: bool, download: bool) -> None:
            self.targets = [CIFAR100_CLASSES.index(name) for name in ("whale", "tractor", "wolf")]
            self.data = np.zeros((3, 32, 32, 3), dtype=np.uint8)

    monkeypatch.setattr("torchvision.datasets.CIFAR100", Files)
    dataset = Cifar20(root=str(tmp_path), download=False)
    data = dataset.load(QUIET)
    assert data.train.labels.tolist() == [0, 19, 8] and len(dataset.class_names()) == 20
    assert dataset.attribute_of(data, SUBCLASS)["train"].tolist() == ["whale", "tractor", "wolf"]


# attributes.csv


@pytest.fixture
def with_attributes(tmp_path: Path) -> ImageFolder:
    rows = ["file,camera,note"]
    for split, name, number in itertools.product(("train", "test"), ("a", "b"), range(4)):
        save(tmp_path / split / name / f"{number}.png", number)
        rows.append(f'{split}/{name}/{number}.png,{"old" if number % 2 else "new"},"x, y"')
    (tmp_path / "attributes.csv").write_text("\n".join(rows) + "\n")
    return ImageFolder(root=str(tmp_path))


def test_a_column_says_of_each_sample_what_its_row_does(with_attributes: ImageFolder) -> None:
    with_attributes.subset = 3
    data = with_attributes.load(QUIET)
    assert with_attributes.attribute_columns() == ("camera", "note")
    camera = with_attributes.attribute_of(data, "camera")
    for name, split in (("train", data.train), ("test", data.test)):
        assert len(split) == 6
        assert camera[name].tolist() == ["old" if red % 2 else "new" for red in split.images[:, 0, 0, 0].tolist()]


@pytest.mark.parametrize(
    ("change", "complaints"),
    [
        (lambda text: text.replace("file,", "path,", 1), ["has no column file"]),
        (lambda text: text.replace("train/a/0.png", "train/a/1.png", 1),
         ["names a file twice: train/a/1.png (1 such)", "has no row for an image: train/a/0.png (1 such)"]),
        (lambda text: text + "train/a/9.png,old,x\n", ["no image of the data set: train/a/9.png (1 such)"]),
        (lambda text: text.replace("note", "camera", 1), ["has 2 columns named camera; rename all but one"]),
        (lambda text: text + "train/a/9.png\n", ["row 18 has more or fewer cells"]),
    ],
)  # fmt: skip
def test_every_mistake_of_the_file_is_named_at_once(
    with_attributes: ImageFolder, change, complaints: list[str]
) -> None:  # type: ignore[no-untyped-def]
    path = Path(str(with_attributes.root)) / "attributes.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError) as caught:
        with_attributes.attribute("camera")
    for complaint in complaints:
        assert complaint in str(caught.value)


def test_a_file_that_is_a_link_is_read(with_attributes: ImageFolder) -> None:
    path = Path(str(with_attributes.root)) / "attributes.csv"
    path.rename(path.with_name("of_all_sets.csv"))
    path.symlink_to("of_all_sets.csv")
    assert with_attributes.attribute_columns() == ("camera", "note")
    assert with_attributes.attribute("camera")["train"] == ["new", "old"] * 4


def test_names_beyond_ascii_are_found_whatever_encoding_the_system_reads_names_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a locale of ASCII each byte of a name above 127 is read as a lone surrogate."""
    files = {"train": (ImageFile("train/tiere/k\udcc3\udca4fer/0.png", 0, 1, 1),)}
    table = "file,camera\ntrain/tiere/k\u00e4fer/0.png,old\n"
    (tmp_path / "attributes.csv").write_text(table, encoding="utf-8")
    assert attribute_of_files(tmp_path, "camera", files) == {"train": ["old"]}
    monkeypatch.setattr(TwoLevelFolder, "_files", files)
    assert TwoLevelFolder(root=str(tmp_path)).attribute(SUBCLASS) == {"train": ["tiere/k\u00e4fer"]}


def test_where_images_were_left_out_nobody_guesses_which(with_attributes: ImageFolder) -> None:
    (Path(str(with_attributes.root)) / "train" / "a" / "2.png").write_bytes(b"no image")
    with_attributes.on_bad_image = "skip"
    data = with_attributes.load(QUIET)
    assert len(data.train) == 7
    with pytest.raises(DataError, match="left images of image_folder out"):
        with_attributes.attribute_of(data, "camera")


def test_a_file_that_no_run_asks_for_is_not_read(with_attributes: ImageFolder) -> None:
    (Path(str(with_attributes.root)) / "attributes.csv").write_bytes(b"\xff\xfe\x00")
    assert len(with_attributes.load(QUIET).train) == 8
    with pytest.raises(DataError, match="cannot be read as a CSV"):
        with_attributes.attribute_columns()


def test_an_image_moved_to_a_sibling_makes_another_run_id(tmp_path: Path) -> None:
    """Pixels, order and classes stay the same; what is forgotten does not."""
    for folder in ("train", "test"):
        fill(tmp_path / folder)
    forget, dataset = ForgetConfig(classes=None, subclasses=["farm/hen"]), TwoLevelFolder(root=str(tmp_path))
    before = forget.by_index(dataset.class_names, dataset)
    assert forget.by_index(dataset.class_names, dataset) == before
    (tmp_path / "train/farm/cow/3.png").rename(tmp_path / "train/farm/hen/-3.png")
    look_again()
    assert forget.by_index(dataset.class_names, dataset) != before
