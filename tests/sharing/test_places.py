"""Places to push to: what is known of one before anything is copied, and that a tar holds one index."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.sharing.test_transfer import push
from unsir_bench.errors import SharingError
from unsir_bench.references.store import Store
from unsir_bench.sharing.index import INDEX
from unsir_bench.sharing.places import FolderPlace


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
