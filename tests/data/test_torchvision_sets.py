"""Fashion-MNIST and CIFAR from made files in the published formats; nothing is downloaded."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from filelock import FileLock, Timeout
from torchvision.datasets import cifar, mnist

from unsir_bench.config_fields import problems
from unsir_bench.data import torchvision_sets
from unsir_bench.data.cifar20 import Cifar20
from unsir_bench.data.torchvision_sets import Cifar10, Cifar100, FashionMnist, TorchvisionSet
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

QUIET = Progress(interactive=False)
PUBLISHED_FASHION = Path("/usr/share/datasets/fashion-mnist")
RNG = np.random.default_rng(0)


def rows_of(count: int, first: int) -> np.ndarray:
    """CIFAR's rows: 1,024 red bytes, then green, then blue, each plane row by row."""
    plane = np.arange(1024).reshape(32, 32) % 200
    return np.stack(
        [np.concatenate([(plane + first + i + 7 * c).ravel() % 256 for c in range(3)]) for i in range(count)]
    )


def pickled(path: Path, content: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def make_cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    for batch in range(1, 6):
        pickled(
            folder / f"data_batch_{batch}",
            {"data": rows_of(2, 10 * batch).astype(np.uint8), "labels": [batch, 9 - batch]},
        )
    pickled(folder / "test_batch", {"data": rows_of(3, 100).astype(np.uint8), "labels": [7, 0, 3]})
    pickled(folder / "batches.meta", {"label_names": list(Cifar10().class_names())})


def make_cifar100(root: Path) -> None:
    folder = root / "cifar-100-python"
    fine = {"train": [99, 0, 50, 51], "test": [3, 98]}
    for name, labels in fine.items():
        rows = rows_of(len(labels), 20).astype(np.uint8)
        pickled(folder / name, {"data": rows, "fine_labels": labels, "coarse_labels": [1] * len(labels)})
    pickled(folder / "meta", {"fine_label_names": list(Cifar100().class_names())})


@pytest.fixture
def _made_files_pass_the_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published files' checksums are torchvision's business; presence is still checked."""
    monkeypatch.setattr(cifar, "check_integrity", lambda path, md5=None: Path(path).is_file())


@pytest.mark.usefixtures("_made_files_pass_the_checksum")
def test_cifar10_reads_five_batches_and_a_test_batch(tmp_path: Path):
    make_cifar10(tmp_path)
    data = Cifar10(root=str(tmp_path), download=False).load(QUIET)
    assert data.image_shape == (3, 32, 32)
    assert data.train.labels.tolist() == [1, 8, 2, 7, 3, 6, 4, 5, 5, 4]
    assert data.test.labels.tolist() == [7, 0, 3]
    assert data.train.labels.dtype == np.int64
    # Second image of batch 3, green, row 2, column 5, from the format's definition.
    assert data.train.images[5, 1, 2, 5] == ((2 * 32 + 5) % 200 + 30 + 1 + 7) % 256
    assert data.train.images.flags.c_contiguous


@pytest.mark.usefixtures("_made_files_pass_the_checksum")
def test_cifar100_reads_the_fine_labels(tmp_path: Path):
    make_cifar100(tmp_path)
    data = Cifar100(root=str(tmp_path), download=False).load(QUIET)
    assert data.train.labels.tolist() == [99, 0, 50, 51]
    assert data.test.labels.tolist() == [3, 98]
    assert data.test.images[1, 2, 31, 0] == ((31 * 32) % 200 + 20 + 1 + 14) % 256
    assert len(data.class_names) == 100


def test_cifar10_classes_are_those_of_the_paper_in_its_order():
    assert Cifar10().class_names() == tuple("airplane automobile bird cat deer dog frog horse ship truck".split())


def test_cifar100_has_100_distinct_names_in_alphabetical_order():
    names = Cifar100().class_names()
    assert len(set(names)) == 100
    assert list(names) == sorted(names)
    # Ids as torchvision and the published meta file have them.
    assert {index: names[index] for index in (0, 8, 23, 53, 69, 99)} == {
        0: "apple", 8: "bicycle", 23: "cloud", 53: "orange", 69: "rocket", 99: "worm",
    }  # fmt: skip


# Fashion-MNIST


def idx(values: np.ndarray) -> bytes:
    """The idx format: two zero bytes, type 8 (unsigned byte), the number of dimensions, each size big-endian, data."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


FASHION = {
    "train": (RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8), np.array([9, 0, 3, 3, 1, 7], dtype=np.uint8)),
    "t10k": (RNG.integers(0, 256, (3, 28, 28), dtype=np.uint8), np.array([2, 8, 5], dtype=np.uint8)),
}


def make_fashion(root: Path, layout: str) -> Path:
    folder = root if layout == "gz" else root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, (images, labels) in FASHION.items():
        for name, values in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            if layout == "gz":
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
            else:
                (folder / name).write_bytes(idx(values))
    return root


@pytest.fixture
def _made_files_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix, (images, labels) in FASHION.items():
        for name, values in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            monkeypatch.setitem(torchvision_sets.PUBLISHED, name, hashlib.md5(idx(values)).hexdigest())


def file_of(root: Path, layout: str, name: str) -> Path:
    return root / f"{name}.gz" if layout == "gz" else root / "FashionMNIST" / "raw" / name


@pytest.mark.usefixtures("_made_files_are_the_published_ones")
@pytest.mark.parametrize("layout", ["gz", "torchvision"])
def test_fashion_mnist_reads_either_layout(tmp_path: Path, layout: str):
    data = FashionMnist(root=str(make_fashion(tmp_path, layout)), download=False).load(QUIET)
    for split, prefix in ((data.train, "train"), (data.test, "t10k")):
        images, labels = FASHION[prefix]
        np.testing.assert_array_equal(split.images[:, 0], images)
        np.testing.assert_array_equal(split.labels, labels)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int64)
    assert data.image_shape == (1, 28, 28)
    assert len(data.class_names) == 10


@pytest.mark.usefixtures("_made_files_are_the_published_ones")
def test_a_folder_of_published_files_needs_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("asked for a download")

    monkeypatch.setattr(mnist, "download_and_extract_archive", refuse)
    assert len(FashionMnist(root=str(make_fashion(tmp_path, "gz")), download=True).load(QUIET).train) == 6


def spoiled(content: bytes, how: str) -> bytes:
    if how == "cut short":
        return content[: len(content) // 2]
    if how == "garbled":
        return content[:10] + b"\xff" + content[11:]  # the compressed stream starts after ten bytes of header
    if how == "no gzip":
        return b"<html>404</html>"
    wrong = {"labels in place of images": idx(FASHION["train"][1]), "an empty file inside": b""}
    return gzip.compress(wrong.get(how, idx(FASHION["train"][0])[:-100]))


@pytest.mark.usefixtures("_made_files_are_the_published_ones")
@pytest.mark.parametrize("layout", ["gz", "torchvision"])
@pytest.mark.parametrize(
    "how",
    ["cut short", "garbled", "no gzip", "labels in place of images", "an empty file inside", "fewer bytes than named"],
)
def test_a_damaged_file_is_named_with_the_fix_and_no_download_is_blamed(tmp_path: Path, how: str, layout: str):
    path = file_of(make_fashion(tmp_path, layout), layout, "train-images-idx3-ubyte")
    path.write_bytes(spoiled(path.read_bytes(), how))
    with pytest.raises(DataError, match=f"dataset.root={tmp_path}: {path} .*; put the published file in") as caught:
        FashionMnist(root=str(tmp_path), download=True).load(QUIET)
    assert "download" not in str(caught.value)


@pytest.mark.parametrize("layout", ["gz", "torchvision"])
def test_another_set_in_files_of_the_same_names_is_refused(tmp_path: Path, layout: str):
    """MNIST's files differ from Fashion-MNIST's in nothing but their content."""
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\S* is not that of Fashion-MNIST"):
        FashionMnist(root=str(make_fashion(tmp_path, layout)), download=False).load(QUIET)


def test_every_published_file_has_a_checksum():
    names = {name.removesuffix(".gz") for name, _ in mnist.FashionMNIST.resources}
    assert set(torchvision_sets.PUBLISHED) == names


@pytest.mark.usefixtures("_made_files_are_the_published_ones")
def test_a_missing_labels_file_is_named(tmp_path: Path):
    (make_fashion(tmp_path, "gz") / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz"):
        FashionMnist(root=str(tmp_path), download=False).load(QUIET)


def test_the_published_fashion_mnist_is_60000_and_10000_balanced_images():
    if not PUBLISHED_FASHION.is_dir():
        pytest.skip(f"no Fashion-MNIST in {PUBLISHED_FASHION} (Debian's dataset-fashion-mnist)")
    data = FashionMnist(root=str(PUBLISHED_FASHION), download=False).load(QUIET)
    assert np.bincount(data.train.labels).tolist() == [6000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10


# Nothing there


SETS = [Cifar10, Cifar100, FashionMnist]


@pytest.mark.parametrize("kind", SETS)
def test_missing_files_without_download_say_what_to_put_where(tmp_path: Path, kind: type[TorchvisionSet]):
    with pytest.raises(DataError) as caught:
        kind(root=str(tmp_path), download=False).load(QUIET)
    message = str(caught.value)
    assert f"dataset.root={tmp_path}" in message
    assert "dataset.download=false" in message
    assert kind.files in message


@pytest.mark.parametrize("kind", SETS)
def test_one_process_downloads_while_others_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[TorchvisionSet]
):
    def download(*args: object, **options: object) -> None:
        with pytest.raises(Timeout):
            FileLock(tmp_path / torchvision_sets.DOWNLOAD_LOCK).acquire(timeout=0)
        raise URLError("it was alone")

    for module in (cifar, mnist):
        monkeypatch.setattr(module, "download_and_extract_archive", download)
    with pytest.raises(DataError, match="it was alone"):
        kind(root=str(tmp_path), download=True).load(QUIET)


@pytest.mark.parametrize("kind", SETS)
def test_a_failed_download_is_told_from_one_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[TorchvisionSet]
):
    def offline(*args: object, **options: object) -> None:
        raise URLError("no route to host")

    for module in (cifar, mnist):
        monkeypatch.setattr(module, "download_and_extract_archive", offline)
    with pytest.raises(DataError) as caught:
        kind(root=str(tmp_path), download=True).load(QUIET)
    assert "the download failed" in str(caught.value)
    assert "no route to host" in str(caught.value)
    assert "dataset.download=false" not in str(caught.value)


@pytest.mark.parametrize("kind", SETS)
def test_class_names_need_no_files(tmp_path: Path, kind: type[TorchvisionSet]):
    assert len(kind(root=str(tmp_path / "nowhere"), download=False).class_names()) >= 10


@pytest.mark.parametrize("dataset", [Cifar10, Cifar100, FashionMnist])
def test_a_root_that_is_null_is_named_before_any_work(dataset: type[Cifar10]):
    [line] = problems(dataset(root=None, download=False), "dataset")
    assert line.startswith("dataset.root=null: give the folder that holds ")


def test_sets_of_the_same_files_share_the_lock_of_their_download(tmp_path: Path):
    """cifar20 downloads and unpacks the archive of cifar100."""
    with Cifar100(root=str(tmp_path))._alone(), pytest.raises(Timeout):
        Cifar20(root=str(tmp_path))._alone().acquire(timeout=0)
