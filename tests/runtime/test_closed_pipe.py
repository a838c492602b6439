"""What happens when nobody reads a command's output any more."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from unsir_bench.runtime.closed_pipe import ENDED_BY_PIPE, ends_with_its_reader

RECORDS = Path(__file__).resolve().parents[2] / "docs" / "results" / "digits_random_samples"
WITHIN = "from unsir_bench.runtime.closed_pipe import ends_with_its_reader\nwith ends_with_its_reader():\n    "


def without_reader(*words: str) -> tuple[int, str]:
    """Exit status and standard error of a Python command whose output was closed before it starts."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, *words], stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    finally:
        os.close(write)
    return done.returncode, done.stderr


@pytest.mark.parametrize("printed", ["'a line'", "'many lines\\n' * 100_000"], ids=["buffered", "more than the buffer"])
def test_a_command_ends_quietly_as_shells_expect(printed: str) -> None:
    assert without_reader("-c", f"{WITHIN}print({printed})") == (ENDED_BY_PIPE, "")


def test_the_status_of_a_command_that_prints_nothing_is_its_own() -> None:
    assert without_reader("-c", f"{WITHIN}raise SystemExit(3)") == (3, "")


@pytest.mark.parametrize("words", [("unsir_bench", "--help"), ("unsir_bench.report.command", "metrics", str(RECORDS))])
def test_both_programs_end_so(words: tuple[str, ...]) -> None:
    assert without_reader("-m", *words) == (ENDED_BY_PIPE, "")


def test_a_command_without_standard_output_ends_as_ever() -> None:
    script = f"import sys; sys.stdout = None\n{WITHIN}print('nowhere'); raise SystemExit(3)"
    assert without_reader("-c", script) == (3, "")


@pytest.mark.parametrize("output", [None, io.StringIO()], ids=["no output", "a string"])
def test_the_end_of_another_pipe_is_an_error_whatever_the_output(
    output: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", output)
    with pytest.raises(BrokenPipeError, match="a worker"), ends_with_its_reader():
        raise BrokenPipeError("a worker")


def test_the_end_of_another_pipe_is_an_error() -> None:
    with pytest.raises(BrokenPipeError, match="a worker"), ends_with_its_reader():
        raise BrokenPipeError("a worker")
