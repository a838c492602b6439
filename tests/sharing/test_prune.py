"""Which records use which entries, and `unsir-bench store prune`: what goes, what stays, and that it asks."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
import torch

from tests.damage import flipped
from tests.sharing.conftest import KEYS, LOG, a_record, whole
from unsir_bench.cli.main import _status
from unsir_bench.references.record_folders import note_folder, notes
from unsir_bench.references.store import Store, content_key
from unsir_bench.references.unlearned_models import KIND
from unsir_bench.sharing.prune import removable, remove
from unsir_bench.sharing.users import kept_records, users_of_entries

DAY = 86400.0
NEEDED = {KEYS["original"], KEYS["retrain"]}


def prune(store: Store, outputs: Path, *words: str) -> int:
    return _status(["store", "prune", str(store.root), "--records", str(outputs), *words])


def aged(path: Path, days: float) -> None:
    os.utime(path, (time.time() - days * DAY,) * 2, follow_symlinks=False)


def answer(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setattr("builtins.input", lambda _question: word)


def test_a_record_uses_what_it_lists(store: Store) -> None:
    users = users_of_entries(store, [a_record("a"), a_record("b", store_entries=[KEYS["original"]])])
    assert users == {KEYS["original"]: ["a", "b"], KEYS["retrain"]: ["a"]}


def test_a_record_without_a_list_uses_all_of_its_data_and_what_was_derived(store: Store) -> None:
    old = a_record("old", store_entries=None)
    assert users_of_entries(store, [old]) == {KEYS[name]: ["old"] for name in ("original", "retrain", "log", "derived")}
    nothing_known = a_record("failed", store_entries=None, fingerprints={}, status="failed")
    assert users_of_entries(store, [nothing_known]) == {}


def test_a_run_lists_what_it_found_once(store: Store) -> None:
    used: list[str] = []
    again = Store(store.root, used)
    for key in (KEYS["log"], KEYS["original"], KEYS["log"], "absent"):
        again.find(key)
    assert used == [KEYS["log"], KEYS["original"]]


def test_what_no_record_needs_goes_and_nothing_else(
    store: Store, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = whole(store)
    assert prune(store, outputs, "--yes") == 0
    assert whole(store) == {key: before[key] for key in NEEDED}
    said = capsys.readouterr().out
    for key in before.keys() - NEEDED:
        assert key in said
    assert "3 that none of 2 records needs" in said and "removed 3" in said
    assert {path.name for path in (store.root / "entries").iterdir()} == NEEDED
    assert prune(store, outputs, "--yes") == 0
    assert "nothing to remove: 2 records, 2 entries" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["", "n", "no", "all"])
def test_it_asks_first(word: str, store: Store, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = whole(store)
    answer(monkeypatch, word)
    assert prune(store, outputs) == 0
    assert whole(store) == before
    answer(monkeypatch, "y")
    assert prune(store, outputs) == 0
    assert whole(store).keys() == NEEDED


def test_without_anybody_to_ask_nothing_goes(
    store: Store, outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody(_question: str) -> str:
        raise EOFError

    before = whole(store)
    monkeypatch.setattr("builtins.input", nobody)
    assert prune(store, outputs) == 0
    assert whole(store) == before and "--yes removes without asking" in capsys.readouterr().out


def test_what_is_younger_stays(store: Store, outputs: Path) -> None:
    aged(store.root / "entries" / KEYS["log"], 40)
    aged(store.root / "entries" / KEYS["original"], 40)
    assert prune(store, outputs, "--yes", "--older-than", "30d") == 0
    assert whole(store).keys() == set(KEYS.values()) - {KEYS["log"]}


def test_the_weights_of_a_run_that_is_being_evaluated_stay(store: Store, outputs: Path) -> None:
    about = {"kind": KIND, "unlearning": "u", "step": 0}
    key = content_key(about)
    store.write(key, {"weights": {"w": torch.ones(3)}}, {"description": about})
    assert prune(store, outputs, "--yes") == 0
    assert whole(store).keys() == NEEDED | {key}
    aged(store.root / "entries" / key, 1.1)
    assert prune(store, outputs, "--yes") == 0
    assert whole(store).keys() == NEEDED
    store.write(key, {"weights": {"w": torch.ones(3)}}, {"description": about})
    assert prune(store, outputs, "--yes", "--older-than", "0h") == 0
    assert whole(store).keys() == NEEDED


def test_what_records_of_another_folder_need_stays(
    store: Store, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere, gone = tmp_path / "elsewhere", tmp_path / "gone"
    a_record(sweep="third", store_entries=[KEYS["other"]]).write(elsewhere / "third" / "unsir-digits-s0-0123456789")
    for folder in (outputs, elsewhere, elsewhere, gone):
        note_folder(store.root, folder)
    assert prune(store, outputs, "--yes") == 0
    assert whole(store).keys() == NEEDED | {KEYS["other"]}
    said = capsys.readouterr().out
    assert "none of 3 records" in said and f"{gone}, named in" in said and f"{elsewhere}, named in" not in said
    assert len(notes(store.root)) == 3
    shutil.rmtree(elsewhere)
    assert prune(store, outputs, "--yes") == 0 and whole(store).keys() == NEEDED


def test_a_note_of_a_folder_that_cannot_be_read_stops_it(
    store: Store, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = whole(store)
    note_folder(store.root, outputs)
    note = notes(store.root)[0]
    note.unlink()
    note.mkdir()
    assert prune(store, outputs, "--yes") == 1
    assert "is no regular file" in capsys.readouterr().out and whole(store) == before


@pytest.mark.parametrize("age", ["30", "d", "1.5d", "-1d", "30 days"])
def test_an_age_that_cannot_be_read_says_how_to_write_it(
    age: str, store: Store, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        prune(store, outputs, f"--older-than={age}")
    assert f"{age}: write hours, days or weeks, as 12h, 30d or 8w" in capsys.readouterr().err


def test_an_entry_whose_lock_is_held_stays(store: Store, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with store.lock(KEYS["log"], "the training log"):
        assert prune(store, outputs, "--yes") == 1
    assert whole(store).keys() == NEEDED | {KEYS["log"]}
    assert f"left: {KEYS['log']}: another process holds its lock" in capsys.readouterr().out


def test_a_checkpoint_that_is_being_written_stays(store: Store, outputs: Path) -> None:
    half = store.root / "in_progress" / f".{KEYS['retrain']}.pt-a1b2c3d4"
    half.parent.mkdir()
    half.write_bytes(b"half a checkpoint")
    with store.lock(KEYS["retrain"], "the retrain model"):
        assert prune(store, outputs, "--yes") == 1
    assert half.exists()


def test_what_another_prune_has_removed_meanwhile_is_gone(store: Store) -> None:
    found = list(removable(store, NEEDED))
    assert {each.path.name for each in found} == whole(store).keys() - NEEDED
    for each in found:
        shutil.rmtree(each.path)
    assert [remove(store, each) for each in found] == [True] * 3
    assert whole(store).keys() == NEEDED and not store.abandoned()


def test_damaged_half_written_and_outlived_things_go(store: Store, outputs: Path, tmp_path: Path) -> None:
    weights = store.root / "entries" / KEYS["other"] / "weights.safetensors"
    weights.write_bytes(flipped(weights.read_bytes(), 90))
    (store.root / "damaged").mkdir()
    (store.root / "damaged" / "aside").write_text("x" * 99)
    (store.root / "damaged" / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    (store.root / "entries" / "planted").symlink_to(tmp_path / "mine")
    abandoned = store.root / "entries" / f".{KEYS['log']}-{'0' * 32}"
    abandoned.mkdir()
    store.checkpoint(KEYS["original"]).save({"epoch": 1})  # finished, so nothing continues it
    half = store.root / "in_progress" / f".{KEYS['retrain']}.pt-a1b2c3d4"
    half.write_bytes(b"half a checkpoint")
    store.checkpoint("0123456789abcdef").save({"epoch": 1})
    assert prune(store, outputs, "--yes") == 0
    assert {path.name for path in (store.root / "entries").iterdir()} == NEEDED
    assert not half.exists()
    assert not store.damaged() and (tmp_path / "mine" / "file").read_text() == "kept"
    assert [path.stem for path in store.checkpoints()] == ["0123456789abcdef"]
    aged(store.checkpoints()[0], 8)
    assert prune(store, outputs, "--yes", "--older-than", "1w") == 0
    assert not store.checkpoints()


@pytest.mark.parametrize("kept", ["none", "damaged"])
def test_without_records_to_go_by_nothing_goes(
    kept: str, store: Store, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = whole(store)
    records = tmp_path / "none"
    if kept == "damaged":
        records = outputs
        path = next(outputs.glob("*/*/record.json"))
        path.write_bytes(path.read_bytes().replace(b"0.25", b"0.75"))
        assert len(kept_records(outputs).unreadable) == 1
    assert prune(store, records, "--yes") == 1
    said = capsys.readouterr().out
    assert "nothing is removed: " in said and ("no record lies below" in said) == (kept == "none")
    assert whole(store) == before


def test_a_removal_that_is_killed_leaves_no_half_entry(
    store: Store, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("unsir_bench.sharing.prune.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(store, outputs, "--yes")
    assert len(store.abandoned()) == 1 and len(whole(store)) == 4
    assert prune(store, outputs, "--yes") == 0
    assert not store.abandoned() and whole(store).keys() == NEEDED


def test_ls_says_who_uses_what(store: Store, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        record = a_record(f"run{number}", store_entries=[KEYS["other"]])
        record.write(outputs / record.sweep / record.run_id)
    assert _status(["store", "ls", str(store.root), "--records", str(outputs)]) == 0
    lines = {key: line for line in capsys.readouterr().out.splitlines() for key in KEYS.values() if f"│ {key} " in line}
    for run in ("retrain-digits-s0-0123456789", "unsir-digits-s0-0123456789"):
        assert run in lines[KEYS["original"]]
    assert "run0, run1 and 1 more" in lines[KEYS["other"]]
    assert "no record" in lines[KEYS["log"]] and LOG["log of"] == KEYS["original"]
