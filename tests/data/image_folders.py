"""Folders of small images of one colour each: how they are written, read back and looked into."""

from pathlib import Path

from PIL import Image

from unsir_bench.data.dataset import LabelledImages
from unsir_bench.data.folders import ImageFolder
from unsir_bench.data.image_cache import CACHE_FOLDER
from unsir_bench.data.look_again import look_again
from unsir_bench.runtime.progress import Progress

QUIET = Progress(interactive=False)
Colour = tuple[int, int, int]


def save(path: Path, colour: Colour = (10, 20, 30), size: tuple[int, int] = (4, 4), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def fill(folder: Path, counts: dict[str, int], red: int = 0) -> None:
    """``counts[name]`` images for each class; red is the class (in alphabetical order), green the image's number."""
    for label, name in enumerate(sorted(counts)):
        for number in range(counts[name]):
            save(folder / name / f"{number:03}.png", (red + label, number, 7))


def colours(split: LabelledImages) -> list[Colour]:
    return [tuple(int(v) for v in image[:, 0, 0]) for image in split.images]  # type: ignore[misc]


def forget_listings() -> None:
    """A listing is kept for the life of the process; a new process would look again."""
    look_again()


def load(root: Path, **options: object) -> tuple[LabelledImages, LabelledImages]:
    data = ImageFolder(root=str(root), **options).load(QUIET)  # type: ignore[arg-type]
    return data.train, data.test


def caches(root: Path) -> list[Path]:
    """What lies in the cache folder but lock files."""
    return [entry for entry in (root / CACHE_FOLDER).iterdir() if entry.suffix != ".lock"]
