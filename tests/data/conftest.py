"""What tests of folders of images share: listings made anew, a folder of two classes, and what Pillow opens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.data.image_folders import fill, forget_listings

OMNIGLOT = Path(__file__).resolve().parents[3] / "shared" / "data" / "omniglot-100.tar.xz"


@pytest.fixture(autouse=True)
def _fresh_listings() -> Iterator[None]:
    forget_listings()
    yield
    forget_listings()


@pytest.fixture
def split_root(tmp_path: Path) -> Path:
    """train/ with 3 images for each of two classes (red 0 and 1), test/ with 2 (red 100 and 101)."""
    fill(tmp_path / "set" / "train", {"cat": 3, "dog": 3})
    fill(tmp_path / "set" / "test", {"cat": 2, "dog": 2}, red=100)
    return tmp_path / "set"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that Pillow opens from now on."""
    names: list[str] = []
    really_open = Image.open

    def spy(path: Path, formats: tuple[str, ...]) -> Image.Image:
        names.append(Path(path).name)
        return really_open(path, formats=formats)

    monkeypatch.setattr(Image, "open", spy)
    return names


@pytest.fixture
def omniglot_archive() -> Path:
    """Real images in an archive beside the checkout, where there is one."""
    if not OMNIGLOT.is_file():
        pytest.skip("no shared/data/omniglot-100.tar.xz beside this checkout: the real images are not here")
    return OMNIGLOT
