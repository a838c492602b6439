"""Two who push to one place, or a pull and a run of the same folder, at the same time: nothing of either is lost."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import uuid4

import pytest
import torch

from tests.sharing.conftest import ORIGINAL, whole
from tests.sharing.test_transfer import pull, push
from unsir_bench.errors import SharingError
from unsir_bench.references.store import Store, content_key
from unsir_bench.runs.run_lock import run_lock
from unsir_bench.sharing import transfer
from unsir_bench.sharing.index import INDEX, Index
from unsir_bench.sharing.places import FolderPlace, UrlPlace, _StagedPlace


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """The store of somebody else."""
    store, about = Store(tmp_path / "other"), {**ORIGINAL, "seed": 7}
    store.write(content_key(about), {"weights": {"w": torch.ones(2)}}, {"description": about})
    return store


def test_whoever_lists_in_a_folder_is_alone(store: Store, other: Store, tmp_path: Path) -> None:
    place = tmp_path / "shared"
    begun = threading.Thread(target=lambda: transfer.push(other, {}, FolderPlace(place)))

    class Slow(FolderPlace):
        """Between its look at the index and its writing, another push begins, and ends if nothing keeps it."""

        def write(self, path: str, content: bytes) -> None:
            if path == INDEX and begun.ident is None:
                begun.start()
                begun.join(timeout=1)
            super().write(path, content)

    transfer.push(store, {}, Slow(place))
    begun.join()
    assert pull(place, tmp_path / "here") == 0
    assert whole(Store(tmp_path / "here" / "store")) == whole(store) | whole(other)


class Contested(UrlPlace):
    """A URL where another's index, written from an earlier look, replaces ours some times."""

    def __init__(self, times: int):
        super().__init__(f"memory://{uuid4().hex}")
        self.times = times

    def write(self, path: str, content: bytes) -> None:
        super().write(path, content)
        if path == INDEX and self.times:
            self.times -= 1
            super().write(INDEX, Index({f"entries/{'0' * 16}/manifest.json": "a" * 64}).content())


@pytest.mark.parametrize("times", [0, 1, 4])
def test_an_index_that_another_replaced_is_written_again(times: int, other: Store) -> None:
    """A push of one entry lists twice, at its arrival and at the end."""
    place = Contested(times)
    transfer.push(other, {}, place)
    listed = Index.parsed(place.read(INDEX)).entries().keys()
    assert listed == whole(other).keys() | ({"0" * 16} if times else set())


def test_an_index_that_is_always_replaced_is_no_success(store: Store) -> None:
    with pytest.raises(SharingError, match=rf"memory://.*: {INDEX} lost what was listed in it 5 times.*push again"):
        transfer.push(store, {}, Contested(10_000))


def test_a_folder_that_is_uploaded_holds_no_lock(store: Store, tmp_path: Path) -> None:
    transfer.push(store, {}, _StagedPlace(tmp_path / "staged"))
    assert {path.name for path in (tmp_path / "staged").iterdir()} == {"entries", INDEX}


def test_a_record_of_a_run_that_is_being_done_here_is_left(
    store: Store, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, here = tmp_path / "shared", tmp_path / "here"
    assert push(store, outputs, place) == 0
    [path] = [path.relative_to(outputs) for path in outputs.glob("demo/*/record.json")]
    with run_lock(here / path.parent):
        assert pull(place, here) == 1
    assert f"refused: {path.parent.name}: it is being done here by another process" in capsys.readouterr().out
    assert not (here / path).exists() and len(list(here.glob("*/*/record.json"))) == 1
    assert pull(place, here) == 0 and (here / path).read_bytes() == (outputs / path).read_bytes()


def test_a_record_that_a_run_finishes_during_a_pull_stays(
    store: Store, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, here, mine = tmp_path / "shared", tmp_path / "here", b"my own"
    assert push(store, outputs, place) == 0

    def just_before(folder: Path, *, wait: bool) -> AbstractContextManager[None]:
        folder.mkdir(parents=True)
        (folder / "record.json").write_bytes(mine)
        return run_lock(folder, wait=wait)

    monkeypatch.setattr(transfer, "run_lock", just_before)
    assert pull(place, here) == 0
    assert [path.read_bytes() for path in here.glob("*/*/record.json")] == [mine, mine]
