"""Places to push to: what is known of one before anything is copied, and that a tar holds one index."""

from __future__ import annotations

import tarfile
from pathlib import Path
from uuid import uuid4

import pytest

from tests.sharing.conftest import KEYS
from tests.sharing.test_transfer import pull, push
from unsir_bench.errors import SharingError
from unsir_bench.references.store import Store
from unsir_bench.sharing.index import INDEX
from unsir_bench.sharing.places import FolderPlace, UrlPlace


@pytest.mark.parametrize(
    ("address", "problem", "line"),
    [
        ("wandb:x", None, "ENTITY/PROJECT/NAME"),
        ("wandb:me/mine/store:v3", None, "leave :v3 out"),
        ("wandb:me/mine/store", "no API key", r"not logged in to Weights & Biases \(no API key\)"),
    ],
)
def test_an_artifact_that_cannot_be_made_is_known_before_anything_is_copied(
    address: str, problem: str | None, line: str, store: Store, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(*_: object) -> None:
        raise AssertionError("a file was copied")

    monkeypatch.setattr(FolderPlace, "write", copied)
    monkeypatch.setattr("unsir_bench.tracking.artifacts.login_problem", lambda: problem)
    with pytest.raises(SharingError, match=line):
        push(store, outputs, address)


def test_a_tar_holds_the_last_index_alone_and_behind_all_files(store: Store, outputs: Path, tmp_path: Path) -> None:
    assert push(store, outputs, tmp_path / "shared.tar") == 0
    with tarfile.open(tmp_path / "shared.tar") as tar:
        names = tar.getnames()
    assert names.count(INDEX) == 1 and names[-1] == INDEX and len(names) == len(set(names))


@pytest.mark.parametrize("refused_at", ["url_to_fs", "cat_file"])
def test_a_service_that_refuses_is_told_in_one_line_without_its_password(
    refused_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is of the extra hub")

    def refused(*_: object, **__: object) -> None:
        raise ConnectionRefusedError("cannot reach https://me:hidden@host/store?sig=hidden")

    with monkeypatch.context() as patched, pytest.raises(SharingError) as told:
        if refused_at == "url_to_fs":
            patched.setattr(fsspec, "url_to_fs", refused)
        place = UrlPlace("memory://me:hidden@host/store")
        patched.setattr(place._files, "cat_file", refused, raising=False)
        place.read(INDEX)
    assert str(told.value).startswith("memory://host/store: ConnectionRefusedError: cannot reach https://host/store")
    assert "hidden" not in str(told.value)


def test_what_is_pushed_is_told_without_the_password_of_the_place(
    store: Store, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(store, outputs, f"memory://me:hidden@{uuid4().hex}/store") == 0
    told = capsys.readouterr().out
    assert "pushed to memory://" in told and "hidden" not in told


def test_a_file_that_its_place_does_not_give_costs_that_entry_or_record_alone(
    store: Store, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert push(store, outputs, tmp_path / "shared") == 0
    read, record = FolderPlace.read, min(path.name for path in (tmp_path / "shared" / "records").iterdir())

    def reads(self: FolderPlace, path: str) -> bytes:
        if KEYS["retrain"] in path or path.endswith(record):
            raise SharingError(f"{path}: 503 Service Unavailable")
        return read(self, path)

    monkeypatch.setattr(FolderPlace, "read", reads)
    assert pull(tmp_path / "shared", tmp_path / "there") == 1
    here = Store(tmp_path / "there" / "store")
    assert {entry.folder.name for entry in here.entries()} == set(KEYS.values()) - {KEYS["retrain"]}
    assert len(list((tmp_path / "there").glob("*/*/record.json"))) == 1
