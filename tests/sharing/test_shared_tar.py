"""A tar that is pulled: no bit of it is wrong unnoticed, and no member but a store's files is ever written."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.damage import flipped
from tests.sharing.conftest import KEYS, whole
from tests.sharing.test_transfer import pull, push
from unsir_bench.errors import SharingError
from unsir_bench.references.store import Store
from unsir_bench.sharing.places import place_to_pull
from unsir_bench.sharing.transfer import pull as pull_from

FLIPS, CUTS = 60, 10
SEED = int(os.environ.get("UNSIR_BENCH_TEST_SEED", "0"))  # of flips and cuts


@pytest.fixture
def tar(store: Store, outputs: Path, tmp_path: Path) -> Path:
    assert push(store, outputs, tmp_path / "shared.tar") == 0
    return tmp_path / "shared.tar"


def refusals(tar: Path, target: Path) -> list[str]:
    """Pull from a tar; why something was refused."""
    try:
        with place_to_pull(str(tar)) as place:
            return [*pull_from(place, Store(target / "store"), target).refused.values()]
    except SharingError as error:
        return [str(error)]


def only_what_was_pushed(target: Path, store: Store, outputs: Path) -> None:
    right = whole(store)
    assert all(files == right[key] for key, files in whole(Store(target / "store")).items())
    assert all(
        path.read_bytes() == (outputs / path.relative_to(target)).read_bytes() for path in target.glob("*/*/*.json")
    )


def test_one_flipped_bit_of_a_tar_is_refused(store: Store, outputs: Path, tar: Path, tmp_path: Path) -> None:
    content, draws = tar.read_bytes(), random.Random(SEED)
    assert not refusals(tar, tmp_path / "whole")
    damaged = tmp_path / "damaged.tar"
    for turn in range(FLIPS):
        bit = draws.randrange(8 * len(content))
        damaged.write_bytes(flipped(content, bit))
        assert refusals(damaged, tmp_path / f"{turn}"), f"bit {bit}"
        only_what_was_pushed(tmp_path / f"{turn}", store, outputs)


def test_a_tar_that_is_cut_is_refused(store: Store, outputs: Path, tar: Path, tmp_path: Path) -> None:
    content, draws = tar.read_bytes(), random.Random(SEED)
    used = len(content.rstrip(b"\0"))
    damaged = tmp_path / "damaged.tar"
    for turn in range(CUTS):
        damaged.write_bytes(content[: draws.randrange(used)])
        assert refusals(damaged, tmp_path / f"{turn}")
        only_what_was_pushed(tmp_path / f"{turn}", store, outputs)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", **pax: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.pax_headers = kind, target, pax
    return info


ENTRY = f"entries/{'f' * 16}"
HOSTILE: dict[str, list[tarfile.TarInfo]] = {
    "an absolute name": [member("OUTSIDE/planted")],
    "a name that climbs": [member("../planted")],
    "a name that climbs from an entry": [member(f"{ENTRY}/../../../../planted.safetensors")],
    "a folder that climbs": [member("../planted", tarfile.DIRTYPE)],
    "a link": [member(f"{ENTRY}/manifest.json", tarfile.SYMTYPE, "/etc/passwd")],
    "a hard link": [member(f"{ENTRY}/manifest.json", tarfile.LNKTYPE, "/etc/passwd")],
    "a link to a folder and a file through it": [
        member(ENTRY, tarfile.SYMTYPE, ".."), member(f"{ENTRY}/../planted")],
    "a device": [member(f"{ENTRY}/manifest.json", tarfile.CHRTYPE)],
    "a pipe": [member(f"{ENTRY}/manifest.json", tarfile.FIFOTYPE)],
    "a sparse file": [member(f"{ENTRY}/manifest.json", **{
        "GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0", "GNU.sparse.size": "99999999999"})],
    "a script": [member("sitecustomize.py")],
    "a pickle in an entry": [member(f"{ENTRY}/weights.pt")],
    "a file twice": [member(f"entries/{KEYS['log']}/manifest.json")],
}  # fmt: skip


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_member_is_refused_by_name_and_the_rest_goes_on(
    title: str, store: Store, tar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = [each.replace(name=each.name.replace("OUTSIDE", str(tmp_path))) for each in HOSTILE[title]]
    with tarfile.open(tar, "a", format=tarfile.PAX_FORMAT) as archive:
        for each in members:
            archive.addfile(each)
    before = set(tmp_path.rglob("*"))
    assert pull(tar, tmp_path / "here") == 1
    said = capsys.readouterr().out
    for each in members:
        assert f"refused: {each.name}" in said
    assert whole(Store(tmp_path / "here" / "store")) == whole(store)
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "here", *(tmp_path / "here").rglob("*")}
    assert not [path for path in (tmp_path / "here").rglob("*") if path.is_symlink() or "planted" in path.name]


@pytest.mark.parametrize("make", [gzip.compress, lambda _: b"", lambda _: b"no tar" * 999])
def test_what_is_no_plain_tar_is_named(make: Callable[[bytes], bytes], tar: Path, tmp_path: Path) -> None:
    tar.write_bytes(make(tar.read_bytes()))
    with pytest.raises(SharingError, match=r"shared\.tar: nothing is pulled"):
        pull(tar, tmp_path / "here")


def test_a_tar_made_by_hand_of_a_shared_folder_is_pulled(store: Store, outputs: Path, tmp_path: Path) -> None:
    assert push(store, outputs, tmp_path / "shared") == 0
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        by_hand = tmp_path / f"{kind}.tar"
        with tarfile.open(by_hand, "w", format=kind) as archive:
            for name in ("entries", "index.json", "records"):
                archive.add(tmp_path / "shared" / name, name)
        assert pull(by_hand, tmp_path / f"here{kind}") == 0
        assert whole(Store(tmp_path / f"here{kind}" / "store")) == whole(store)


def test_a_tar_is_the_same_bytes_again_and_never_written_over(store: Store, outputs: Path, tar: Path) -> None:
    with pytest.raises(SharingError, match="is there already"):
        push(store, outputs, tar)
    again = tar.with_name("again.tar")
    assert push(store, outputs, again) == 0
    assert again.read_bytes() == tar.read_bytes()


def test_a_push_that_fails_leaves_no_tar(
    store: Store, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(SharingError, match=r"full\.tar: entries/.* cannot be written: .*No space"):
        push(store, outputs, tmp_path / "full.tar")
    assert not [path for path in tmp_path.iterdir() if "full" in path.name]


def test_a_member_that_claims_to_be_larger_than_the_tar_is_refused(tar: Path, tmp_path: Path) -> None:
    huge = member(f"{ENTRY}/manifest.json")
    huge.size = 10**12
    content = tar.read_bytes()
    end = len(content.rstrip(b"\0"))
    end += -end % 512
    tar.write_bytes(content[:end] + huge.tobuf(tarfile.GNU_FORMAT) + io.BytesIO(b"few").read())
    assert any("cut" in reason for reason in refusals(tar, tmp_path / "here"))
    assert len(whole(Store(tmp_path / "here" / "store"))) == 5
