"""The formats, colour modes and sizes of the files in a folder of images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from tests.data.image_folders import colours, load, save
from unsir_bench.errors import DataError


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        ("png", {}, 0),
        ("PNG", {}, 0),
        ("bmp", {}, 0),
        ("gif", {}, 0),
        ("tiff", {}, 0),
        ("tif", {"compression": "tiff_lzw"}, 0),
        ("webp", {"lossless": True}, 0),
        ("ppm", {}, 0),
        ("jpg", {"quality": 95}, 3),
        ("jpeg", {"quality": 95}, 3),
        ("webp", {"quality": 95}, 6),
    ],
)
def test_every_format_gives_the_colour_that_was_saved(
    tmp_path: Path, suffix: str, options: dict[str, object], tolerance: int
):
    saved = {"a": (200, 40, 90), "b": (10, 220, 60)}
    for part in ("train", "test"):
        for name, colour in saved.items():
            save(tmp_path / part / name / f"one.{suffix}", colour, (8, 8), **options)
    train, _ = load(tmp_path)
    for image, label in zip(train.images, train.labels, strict=True):
        expected = np.array(saved["ab"[label]])[:, None, None]
        assert np.abs(image.astype(int) - expected).max() <= tolerance


def test_rows_and_columns_are_not_swapped(split_root: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    for path in split_root.glob("*/*/*.png"):
        Image.fromarray(pixels).save(path)
    train, _ = load(split_root)
    assert train.images.shape == (6, 3, 4, 6)
    np.testing.assert_array_equal(train.images[0, 1], pixels[:, :, 1])


# Grey is ITU-R 601's 0.299 R + 0.587 G + 0.114 B.
SOURCES = {
    "RGB": (Image.new("RGB", (4, 4), (200, 100, 50)), (200, 100, 50), 0.299 * 200 + 0.587 * 100 + 0.114 * 50),
    "L": (Image.new("L", (4, 4), 77), (77, 77, 77), 77),
    "1": (Image.new("1", (4, 4), 1), (255, 255, 255), 255),
    "P": (Image.new("RGB", (4, 4), (200, 100, 50)).quantize(2), (200, 100, 50), 124.2),
    "RGBA": (Image.new("RGBA", (4, 4), (200, 100, 50, 128)), (200, 100, 50), 124.2),
    "LA": (Image.new("LA", (4, 4), (77, 10)), (77, 77, 77), 77),
}


@pytest.mark.parametrize("source", SOURCES)
def test_colour_and_grey_files_are_read_in_the_mode_asked_for(split_root: Path, source: str):
    image, colour, grey = SOURCES[source]
    for path in split_root.glob("*/*/*.png"):
        image.save(path)
    rgb, _ = load(split_root, mode="RGB")
    assert rgb.images.shape == (6, 3, 4, 4)
    assert set(colours(rgb)) == {colour}
    single, _ = load(split_root, mode="L")
    assert single.images.shape == (6, 1, 4, 4)
    assert np.abs(single.images.astype(float) - grey).max() <= 1


@pytest.mark.parametrize(
    ("pixels", "suffix"), [(np.full((4, 4), 40_000, np.uint16), "png"), (np.full((4, 4), 0.5, np.float32), "tiff")]
)
def test_deeper_pixels_than_8_bits_are_refused_not_clipped(split_root: Path, pixels: np.ndarray, suffix: str):
    Image.fromarray(pixels).save(split_root / "train" / "cat" / f"deep.{suffix}")
    with pytest.raises(DataError, match=rf"train/cat/deep\.{suffix} .*convert the file to 8 bits"):
        load(split_root)


def test_image_size_resizes_all(tmp_path: Path):
    for part in ("train", "test"):
        for number, (name, size) in enumerate([("a", (3, 9)), ("a", (12, 12)), ("b", (6, 6))]):
            save(tmp_path / part / name / f"{number}.png", (90, 91, 92), size)
    train, test = load(tmp_path, image_size=6)
    assert train.images.shape == test.images.shape == (3, 3, 6, 6)
    assert set(colours(train)) == {(90, 91, 92)}


@pytest.mark.parametrize("name", ["evil.png", "evil.jpg", "evil.tif"])
def test_a_program_under_the_name_of_an_image_is_never_run(
    split_root: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    Image.new("RGB", (4, 4)).save(split_root / "train" / "cat" / name, "EPS")
    with pytest.raises(DataError, match=rf"train/cat/{name} \(cannot identify image file"):
        load(split_root)


@pytest.mark.parametrize("suffix", ["eps", "ps"])
def test_a_file_of_postscript_is_no_image(split_root: Path, suffix: str, caplog: pytest.LogCaptureFixture):
    Image.new("RGB", (4, 4)).save(split_root / "train" / "cat" / f"drawing.{suffix}", "EPS")
    train, _ = load(split_root)
    assert len(train) == 6 and f"not images and are not read (.{suffix}: 1)" in caplog.text
