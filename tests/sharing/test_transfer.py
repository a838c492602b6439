"""Entries and records pushed to a shared place and pulled from it: what arrives, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from safetensors.torch import save_file

from tests.damage import flipped, replaced_by_link
from tests.sharing.conftest import KEYS, ORIGINAL, a_record, whole
from unsir_bench.cli.main import _status
from unsir_bench.errors import DamagedEntryError, SharingError
from unsir_bench.records import RunRecord
from unsir_bench.references.record_folders import noted_folder, notes
from unsir_bench.references.store import Store, content_key
from unsir_bench.runtime.files import read_manifest, sha256, sha256_of_file, write_manifest
from unsir_bench.sharing import transfer
from unsir_bench.sharing.index import INDEX, Index
from unsir_bench.sharing.places import FolderPlace


@pytest.fixture(params=["folder", "tar", "url"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"folder": str(tmp_path / "shared"), "tar": str(tmp_path / "shared.tar"), "url": f"memory://{uuid4().hex}"}[
        request.param
    ]


def push(store: Store, outputs: Path, address: object, *words: str) -> int:
    return _status(["store", "push", str(address), "--store", str(store.root), "--records", str(outputs), *words])


def pull(address: object, target: Path, *words: str) -> int:
    """Pull into the store and the records below ``target``."""
    return _status(["store", "pull", str(address), "--store", f"{target}/store", "--records", str(target), *words])


def shared(folder: Path, change: Callable[[Index], object]) -> None:
    """Change the index of a shared folder, as somebody who shares a hostile one would."""
    index = Index.parsed((folder / INDEX).read_bytes())
    change(index)
    (folder / INDEX).write_bytes(index.content())


def test_all_that_is_pushed_arrives_as_it_was(
    store: Store, outputs: Path, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here"
    assert push(store, outputs, address) == 0 and pull(address, here) == 0
    said = capsys.readouterr().out
    assert "5 entries and 2 records" in said and ("push again" in said) is ("://" in address)
    assert whole(Store(here / "store")) == whole(store) and len(whole(store)) == 5
    for path in outputs.glob("*/*/record.json"):
        assert (here / path.relative_to(outputs)).read_bytes() == path.read_bytes()
    assert pull(address, here) == 0
    assert "0 entries and 0 records, 0.0 MB; 7 were here before, 0 refused" in capsys.readouterr().out
    assert not Store(here / "store").abandoned()
    assert [noted_folder(note) for note in notes(here / "store")] == [here]


def test_a_push_adds_what_is_missing(store: Store, outputs: Path, tmp_path: Path) -> None:
    place, here = tmp_path / "shared", tmp_path / "here"
    assert push(store, outputs, place, "--sweep", "demo") == 0
    assert pull(place, here) == 0
    assert whole(Store(here / "store")).keys() == {KEYS["original"], KEYS["retrain"]}
    assert [path.parent.parent.name for path in here.glob("*/*/record.json")] == ["demo"]
    assert push(store, outputs, place) == 0 and pull(place, here, "--no-records") == 0
    assert whole(Store(here / "store")) == whole(store)
    assert len(list(here.glob("*/*/record.json"))) == 1


@pytest.mark.parametrize("attempt", range(6))
def test_of_a_record_that_was_pushed_twice_the_last_version_is_taken(
    attempt: int, store: Store, outputs: Path, tmp_path: Path
) -> None:
    """Which one comes first in the index is a matter of hashes."""
    place, here = tmp_path / "shared", tmp_path / "here"
    assert push(store, outputs, place) == 0
    [path] = outputs.glob("demo/*/record.json")
    record = RunRecord.read(path)
    record.metrics[f"added_{attempt}"] = 0.5
    record.evaluated.append({"metrics": {}, "added": [f"added_{attempt}"], "finished": "2999-01-01T00:00:00+00:00"})
    record.write(path.parent)
    assert push(store, outputs, place) == 0 and pull(place, here) == 0
    assert (here / path.relative_to(outputs)).read_bytes() == path.read_bytes()


def test_a_sweep_that_is_not_there_is_named(
    store: Store, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(store, outputs, tmp_path / "shared", "--sweep", "demo", "--sweep", "dmeo") == 2
    assert "--sweep dmeo: no record of it lies below" in capsys.readouterr().out
    assert not (tmp_path / "shared").exists()


def test_what_is_finished_here_is_never_replaced(store: Store, outputs: Path, tmp_path: Path) -> None:
    here = Store(tmp_path / "here" / "store")
    about = store.find(KEYS["original"]).manifest["description"]  # type: ignore[union-attr]
    here.write(KEYS["original"], {"weights": {"w": torch.zeros(1)}}, {"description": about})
    mine = a_record(metrics={"acc_forget_test": 0.5})
    record = mine.write(tmp_path / "here" / mine.sweep / mine.run_id)
    before, own = whole(here)[KEYS["original"]], record.read_bytes()
    assert push(store, outputs, tmp_path / "shared") == 0 and pull(tmp_path / "shared", tmp_path / "here") == 0
    assert whole(here)[KEYS["original"]] == before and record.read_bytes() == own
    assert whole(here).keys() == whole(store).keys()
    # Nor there: the other's weights stay what was pushed first.
    listed = (tmp_path / "shared" / INDEX).read_bytes()
    assert push(here, tmp_path / "nothing", tmp_path / "shared") == 0
    assert (tmp_path / "shared" / INDEX).read_bytes() == listed


def test_an_entry_that_is_damaged_here_is_not_pushed_and_is_healed_by_a_pull(
    store: Store, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = whole(store)
    assert push(store, outputs, tmp_path / "good") == 0
    weights = store.root / "entries" / KEYS["retrain"] / "weights.safetensors"
    weights.write_bytes(flipped(weights.read_bytes(), 90))
    assert push(store, outputs, tmp_path / "other") == 1
    assert f"refused: {KEYS['retrain']}: weights.safetensors does not match its hash" in capsys.readouterr().out
    listed = Index.parsed((tmp_path / "other" / INDEX).read_bytes())
    assert listed.entries().keys() == right.keys() - {KEYS["retrain"]}
    assert pull(tmp_path / "good", outputs) == 0
    assert whole(store) == right and len(store.damaged()) == 1


def test_what_is_being_made_here_is_left(
    store: Store, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(store, outputs, tmp_path / "shared") == 0
    here = Store(tmp_path / "here" / "store")
    with here.lock(KEYS["original"], "the original model"):
        assert pull(tmp_path / "shared", tmp_path / "here") == 1
    assert f"refused: {KEYS['original']}: it is being made here by another process" in capsys.readouterr().out
    assert whole(here).keys() == whole(store).keys() - {KEYS["original"]}


def with_a_flipped_bit(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    weights.write_bytes(flipped(weights.read_bytes(), 9))


def with_nan(folder: Path) -> None:
    rewritten(folder, lambda: save_file({"w": torch.tensor([1.0, float("nan")])}, folder / "weights.safetensors"))


def rewritten(folder: Path, change: Callable[[], object], **manifest: object) -> None:
    """A change to an entry whose own manifest agrees with it."""
    content = read_manifest(folder)
    change()
    content["files"] = {name: sha256_of_file(folder / f"{name}.safetensors") for name in content["files"]}
    write_manifest(folder, {**content, **manifest})


def with_content(folder: Path, **changes: object) -> None:
    write_manifest(folder, {**read_manifest(folder), **changes})


def swapped(folder: Path) -> None:
    other = folder.parent / KEYS["retrain"]
    for path in other.iterdir():
        shutil.copy(path, folder)


# By title: what is done to the shared entry, whether the index is made to agree, and what the refusal says.
DAMAGES: dict[str, tuple[Callable[[Path], object], bool, str]] = {
    "a bit": (with_a_flipped_bit, False, "does not match its hash"),
    "a bit, and the index agrees": (with_a_flipped_bit, True, "does not match its hash"),
    "a missing file": (lambda it: (it / "logits.safetensors").unlink(), False, "No such file"),
    "a link": (lambda it: replaced_by_link(it / "weights.safetensors"), False, "symbolic links"),
    "a linked folder": (replaced_by_link, False, "is a link"),
    "a pipe": (lambda it: ((it / "manifest.json").unlink(), os.mkfifo(it / "manifest.json")), False, "no regular file"),
    "an extra file": (lambda it: (it / "extra.safetensors").write_bytes(b"x"), True, "names other files"),
    "a manifest that names a file elsewhere": (
        lambda it: with_content(it, files={"../../../outside": "0" * 64}), True, "names other files"),
    "a manifest whose files are a list": (lambda it: with_content(it, files=["weights"]), True, "no list of names"),
    "a manifest that is a list": (lambda it: with_content(it, manifest=[1]), True, "AttributeError"),
    "NaN weights": (with_nan, True, "NaN"),
    "another's entry": (swapped, True, "was written as"),
    "no description": (lambda it: rewritten(it, lambda: None, manifest={}), True, "no description"),
}  # fmt: skip


@pytest.mark.parametrize("title", DAMAGES)
def test_a_damaged_entry_is_refused_by_name_and_the_rest_goes_on(
    title: str, store: Store, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, here = tmp_path / "shared", Store(tmp_path / "here" / "store")
    assert push(store, outputs, place) == 0
    damage, agrees, reason = DAMAGES[title]
    key = KEYS["original"]
    folder = place / "entries" / key
    damage(folder)
    if agrees:
        listed = {f"entries/{key}/{path.name}": sha256(path.read_bytes()) for path in folder.iterdir()}
        shared(place, lambda index: index.files.update(listed))
    assert pull(place, tmp_path / "here") == 1
    said = capsys.readouterr().out
    assert f"refused: {key}: " in said and reason in said
    assert whole(here).keys() == whole(store).keys() - {key}
    assert len(list((tmp_path / "here").glob("*/*/record.json"))) == 2
    assert {path.name for path in (here.root / "entries").iterdir()} == whole(here).keys()


@pytest.mark.parametrize("name", ["../../planted", "OUTSIDE/planted", "entries/../planted.safetensors", "run.py"])
def test_a_listed_name_that_is_none_of_a_store_is_refused(
    name: str, store: Store, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, name = tmp_path / "shared", name.replace("OUTSIDE", str(tmp_path))
    assert push(store, outputs, place) == 0
    shared(place, lambda index: index.files.update({name: "0" * 64}))
    assert pull(place, tmp_path / "here") == 1
    assert f"refused: {name}: is no name of a shared file" in capsys.readouterr().out
    assert not [path for path in tmp_path.rglob("*") if "planted" in path.name or path.suffix == ".py"]
    assert len(whole(Store(tmp_path / "here" / "store"))) == 5


def changed_record(record: RunRecord, tmp_path: Path) -> bytes:
    return record.write(tmp_path / "elsewhere").read_bytes()


RECORDS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "an edited one": (lambda it: changed_record(a_record("edited"), it).replace(b"0.25", b"0.75"), "digest"),
    "one that climbs": (lambda it: changed_record(a_record(sweep=".."), it), "cannot be folders"),
    "one in the store's place": (lambda it: changed_record(a_record("x/../../y"), it), "cannot be folders"),
    "an unfinished one": (lambda it: changed_record(a_record("unfinished", status="failed"), it), "not finished"),
    "no JSON": (lambda _: b"{" * 5000, "Expecting"),
    "a huge one": (lambda _: b" " * (16 * 2**20 + 1), "larger"),
}


@pytest.mark.parametrize("title", RECORDS)
def test_a_record_that_cannot_be_trusted_is_refused(
    title: str, store: Store, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "shared"
    assert push(store, outputs, place) == 0
    make, reason = RECORDS[title]
    content = make(tmp_path)
    path = f"records/{sha256(content)}.json"
    (place / path).write_bytes(content)
    shared(place, lambda index: index.files.update({path: sha256(content)}))
    assert pull(place, tmp_path / "here") == 1
    said = capsys.readouterr().out
    assert f"refused: {path}: " in said and reason in said
    assert len(list((tmp_path / "here").rglob("record.json"))) == 2


@pytest.mark.parametrize("damage", [lambda text: text[:-40], lambda text: text.replace(b'"format"', b'"Format"'),
                                    lambda _: b"", lambda text: text.replace(b"\n", b" \n", 1)])  # fmt: skip
def test_a_damaged_index_is_named_and_nothing_is_pulled(
    damage: Callable[[bytes], bytes], store: Store, outputs: Path, tmp_path: Path
) -> None:
    place = tmp_path / "shared"
    assert push(store, outputs, place) == 0
    (place / INDEX).write_bytes(damage((place / INDEX).read_bytes()))
    for use in (lambda: pull(place, tmp_path / "here"), lambda: push(store, outputs, place)):
        with pytest.raises(SharingError, match=f"shared: .*{INDEX}"):
            use()
    assert not list((tmp_path / "here").rglob("*.safetensors"))


def test_an_index_of_another_format_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr("unsir_bench.sharing.index.FORMAT", 2)
        content = Index().content()
    with pytest.raises(DamagedEntryError, match=f"{INDEX} has format 2, not 1"):
        Index.parsed(content)


@pytest.mark.parametrize("killed", [False, True])
def test_an_interrupted_push_lists_the_entries_that_arrived_and_is_gone_on_with(
    killed: bool, store: Store, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, writes = tmp_path / "shared", []
    write = FolderPlace.write

    def ends_early(self: FolderPlace, path: str, content: bytes) -> None:
        writes.append(path)
        if len(writes) == 6 or (killed and len(writes) > 6):  # an entry has at most four files
            raise KeyboardInterrupt
        write(self, path, content)

    with monkeypatch.context() as patch:
        patch.setattr(FolderPlace, "write", ends_early)
        with pytest.raises(KeyboardInterrupt):
            push(store, outputs, place)
    arrived = {path.parent.name for path in place.glob("entries/*/manifest.json")}
    listed = Index.parsed((place / INDEX).read_bytes()).entries().keys()
    assert listed and (listed <= arrived if killed else listed == arrived)
    assert pull(place, tmp_path / "here") == 0
    assert whole(Store(tmp_path / "here" / "store")).keys() == listed
    assert push(store, outputs, place) == 0 and pull(place, tmp_path / "here") == 0
    assert whole(Store(tmp_path / "here" / "store")) == whole(store)


def test_two_pushes_at_once_unlist_nothing_of_each_other(store: Store, tmp_path: Path) -> None:
    other, about = Store(tmp_path / "other"), {**ORIGINAL, "seed": 7}
    other.write(content_key(about), {"weights": {"w": torch.ones(2)}}, {"description": about})

    class Shared(FolderPlace):
        """A folder that another pushes to while the first file is on its way."""

        def write(self, path: str, content: bytes) -> None:
            waiting, others[:] = list(others), []
            for each in waiting:
                transfer.push(each, {}, FolderPlace(tmp_path / "shared"))
            super().write(path, content)

    others = [other]
    assert sorted(transfer.push(store, {}, Shared(tmp_path / "shared")).entries) == sorted(whole(store))
    assert pull(tmp_path / "shared", tmp_path / "here") == 0
    assert whole(Store(tmp_path / "here" / "store")) == whole(store) | whole(other)


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("nowhere", "there is no such folder or tar"),
        ("odd://x", "Protocol not known"),
        ("wandb:x", "ENTITY/PROJECT/NAME"),
    ],
)
def test_a_place_that_cannot_be_read_is_one_line(address: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(SharingError, match=line) as told:
        pull(address, tmp_path)
    assert address in str(told.value) and "\n" not in str(told.value)


def test_an_index_is_what_it_was_to_the_last_byte() -> None:
    content = Index({f"entries/{'0' * 16}/manifest.json": "a" * 64}).content()
    assert Index.parsed(content).content() == content and json.loads(content)["format"] == 1
    for bit in range(8 * len(content)):
        with pytest.raises(DamagedEntryError):
            Index.parsed(flipped(content, bit))
