"""Damaged files of every format that Pillow writes here, and of three that it only reads: pixels or one complaint."""

import io
import logging
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unsir_bench.data.folders import ImageFolder
from unsir_bench.data.picture import PictureOptions, UnusableImage
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

QUIET = Progress(interactive=False)
SEED = 20
PER_FORMAT = 20
MODES = {"MSP": "1", "XBM": "1", "BLP": "P", "SPIDER": "F"}
# PDF and PALM are only written. EPS is drawn by another program.
LEFT_OUT = {"PDF", "PALM", "EPS", "HDF5", "GRIB", "BUFR", "WMF", "STUB"}


def written() -> dict[str, tuple[str, bytes]]:
    """By format: a suffix and the bytes of a small picture of noise."""
    Image.init()
    suffixes: dict[str, str] = {}
    for suffix, name in Image.EXTENSION.items():
        suffixes.setdefault(name, suffix)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    made = {}
    for name in sorted(set(Image.SAVE) - LEFT_OUT):
        target = io.BytesIO()
        try:
            noise.convert(MODES.get(name, "RGB")).save(target, name)
        except (OSError, ValueError, KeyError, RuntimeError):
            continue  # not built in here
        made[name] = (suffixes.get(name, ".png"), target.getvalue())
    return made | only_read(noise)


def only_read(image: Image.Image) -> dict[str, tuple[str, bytes]]:
    """As ``written``, of formats that Pillow reads and does not write: a cursor, a Photoshop file, an X pixmap."""
    icon = io.BytesIO()
    image.save(icon, "ICO", bitmap_format="bmp")
    cursor = bytearray(icon.getvalue())
    cursor[2] = 2  # the kind: 1 is an icon
    width, height = image.size
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, height, width, 8, 3) + bytes(12) + bytes(2)  # no layers, raw
    planes = np.asarray(image).transpose(2, 0, 1).tobytes()
    rows = ",\n".join(f'"{"ab" * (width // 2)}"' for _ in range(height))
    pixmap = f'/* XPM */\nstatic char *x[] = {{\n"{width} {height} 2 1",\n"a c #ff0000",\n"b c #00ff00",\n{rows}\n}};\n'
    return {"CUR": (".cur", bytes(cursor)), "PSD": (".psd", head + planes), "XPM": (".xpm", pixmap.encode())}


def damaged(content: bytes, draw: random.Random, count: int) -> Iterator[bytes]:
    """Files cut short, and files with a few bytes changed, more often near the start."""
    for number in range(count):
        if number % 3 == 0:
            yield content[: draw.randrange(len(content))]
            continue
        changed = bytearray(content)
        for _ in range(draw.choice([1, 1, 2, 4])):
            place = draw.randrange(min(len(content), draw.choice([64, 200, len(content)])))
            changed[place] = draw.choice([0, 255, draw.randrange(256)])
        yield bytes(changed)


def fuzz(folder: Path, per_format: int, seed: int) -> dict[str, int]:
    """Decode damaged files; how many of each format were tried.

    Raises:
        AssertionError: a decoder's error came through, or a complaint is empty.
    """
    draw, tried = random.Random(seed), {}
    for name, (suffix, content) in written().items():
        for bad in damaged(content, draw, per_format):
            path = folder / f"x{suffix}"
            path.write_bytes(bad)
            try:
                PictureOptions(None, "RGB", orientation=draw.choice(["stored", "exif"])).pixels(path)
            except UnusableImage as complaint:
                assert str(complaint)
            except BaseException as error:
                raise AssertionError(f"{name}, seed {seed}: {type(error).__name__}: {error}") from error
            tried[name] = tried.get(name, 0) + 1
    return tried


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_of_any_format_is_an_unusable_image(tmp_path: Path):
    print(f"seed {SEED}")
    for name in ("CUR", "PSD", "XPM"):
        suffix, content = written()[name]
        (tmp_path / f"whole{suffix}").write_bytes(content)
        assert PictureOptions(None, "RGB").pixels(tmp_path / f"whole{suffix}").shape == (3, 24, 24), name
        assert name not in Image.SAVE
    tried = fuzz(tmp_path, PER_FORMAT, SEED)
    assert {"PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "CUR", "PSD", "XPM"} <= set(tried)
    assert sum(tried.values()) >= 300


class DecoderError(Exception):
    """A kind of its own, as Pillow's BLP decoder has."""


KINDS = [
    RuntimeError("Failed to decode"),
    DecoderError("no"),
    EOFError(),
    IndexError("x"),
    ZeroDivisionError(),
    KeyError(3),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part in ("train", "test"):
        for label, name in enumerate("ab"):
            for number in range(3):
                path = tmp_path / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (4, 4), (label, number, 0)).save(path)
    return tmp_path


@pytest.mark.parametrize("error", KINDS, ids=lambda error: type(error).__name__)
def test_whatever_a_decoder_raises_names_the_file_and_skip_leaves_it_out(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
):
    really_open = Image.open

    def opened(path: Path, formats: tuple[str, ...]) -> Image.Image:
        if Path(path).match("train/b/1.png"):
            raise error
        return really_open(path, formats=formats)

    monkeypatch.setattr(Image, "open", opened)
    with pytest.raises(DataError, match=r"1 of 6 images(?s:.*)train/b/1\.png \(.+\)(?s:.*)on_bad_image=skip"):
        ImageFolder(root=str(root)).load(QUIET)
    with caplog.at_level(logging.WARNING, logger="unsir_bench"):
        data = ImageFolder(root=str(root), on_bad_image="skip").load(QUIET)
    assert "train/b/1.png" in caplog.text
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1]


def test_a_format_that_is_only_written_is_named(root: Path):
    Image.new("RGB", (4, 4)).save(root / "train" / "a" / "page.pdf")
    with pytest.raises(DataError, match=r"train/a/page\.pdf \(cannot identify"):
        ImageFolder(root=str(root)).load(QUIET)


def test_warnings_as_errors_refuse_no_good_picture(root: Path):
    import warnings

    Image.effect_noise((4, 4), 50).convert("P").save(root / "train" / "a" / "z.png", transparency=bytes([0, 128, 255]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(ImageFolder(root=str(root)).load(QUIET).train) == 7


def test_too_little_memory_names_the_file_and_skips_nothing(root: Path, monkeypatch: pytest.MonkeyPatch):
    def opened(path: Path, formats: tuple[str, ...]) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(Image, "open", opened)
    with pytest.raises(DataError, match=r"train/a/0\.png: memory does not suffice"):
        ImageFolder(root=str(root), on_bad_image="skip").load(QUIET)
