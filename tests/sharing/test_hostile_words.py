"""Texts of a shared store that a terminal would obey: shown as escapes wherever they come out. Records left out."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.sharing.conftest import KEYS
from tests.sharing.test_transfer import pull, push, shared, with_content
from unsir_bench.cli import main, split, tune
from unsir_bench.cli.main import _status
from unsir_bench.errors import DataError, SharingError
from unsir_bench.references.store import Store
from unsir_bench.runtime.files import sha256

HOSTILE = "\x1b[2J\x9b31m"


def hostile(folder: Path) -> None:
    """An entry whose own manifest agrees with it and says that it was written under another key."""
    with_content(folder, key=HOSTILE)


def test_no_escape_of_a_manifest_reaches_a_terminal(
    store: Store, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    place, key = tmp_path / "shared", KEYS["original"]
    assert push(store, outputs, place) == 0
    folder = place / "entries" / key
    hostile(folder)
    listed = {f"entries/{key}/{path.name}": sha256(path.read_bytes()) for path in folder.iterdir()}
    shared(place, lambda index: index.files.update(listed))
    hostile(store.root / "entries" / key)
    capsys.readouterr()
    commands = {
        "pull": lambda: pull(place, tmp_path / "here"),
        "push": lambda: push(store, outputs, tmp_path / "other"),
        "verify": lambda: _status(["store", "verify", str(store.root)]),
        "ls": lambda: _status(["store", "ls", str(store.root)]),
    }
    for name, command in commands.items():
        assert command() == 1, name
        said = capsys.readouterr().out
        assert "\x1b" not in said and "\x9b" not in said, name
        assert name == "ls" or "it was written as \\x1b[2J\\x9b31m" in said, name
    with store.building(key):
        pass
    assert "it was written as \\x1b[2J" in caplog.text and "\x1b" not in caplog.text


def test_no_escape_of_an_error_reaches_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails = Mock(side_effect=DataError(HOSTILE))
    monkeypatch.setattr(split, "_written", fails)
    monkeypatch.setattr(tune, "_tune", fails)
    monkeypatch.setattr(main, "_status", Mock(side_effect=SharingError(HOSTILE)))
    assert split.split_command(["--output", "x.csv"]) == tune.tune_command(["method=scrub"]) == 1
    with pytest.raises(SystemExit) as ended:
        main.main()
    said = capsys.readouterr().err + str(ended.value)
    assert said.count("\\x1b[2J") == 3 and "\x1b" not in said


def test_a_record_that_cannot_be_read_is_refused_and_not_left_out_in_silence(
    store: Store, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [damaged] = outputs.glob("second/*/record.json")
    damaged.write_bytes(b"{")
    assert push(store, outputs, tmp_path / "demo alone", "--sweep", "demo") == 0
    assert push(store, outputs, tmp_path / "shared") == 1
    said = capsys.readouterr().out
    assert said.count(f"refused: {damaged}: ") == 1 and "no record: " not in said
    assert "5 entries and 1 records" in said and said.endswith("0 were there before, 1 refused\n")
