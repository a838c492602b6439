"""Commands that Hydra does not start tell how they go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from unsir_bench.cli.evaluate import evaluate_command
from unsir_bench.cli.reproduce import reproduce_command
from unsir_bench.cli.split import split_command
from unsir_bench.cli.tune import tune_command
from unsir_bench.cli.verify import verify_command

COMMANDS = {
    "evaluate._runs": (evaluate_command, ["folder"]),
    "reproduce.read": (reproduce_command, ["record.json"]),
    "split._written": (split_command, ["--output", "f.json"]),
    "tune._tune": (tune_command, ["method=ssd"]),
    "verify._sweeps": (verify_command, ["folder"]),
}


@pytest.fixture
def level() -> Iterator[None]:
    """Put the level of all loggers back."""
    root = logging.getLogger()
    before = root.level
    yield
    root.setLevel(before)


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("within", COMMANDS)
def test_what_a_run_logs_is_printed(
    within: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*_: Any) -> list[str]:
        logging.getLogger("unsir_bench").info("training the original model")
        raise OSError("that is all")

    command, words = COMMANDS[within]
    monkeypatch.setattr(f"unsir_bench.cli.{within}", work)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as a new process has it
    with suppress(OSError):
        command(words)
    assert "] training the original model" in capsys.readouterr().err
