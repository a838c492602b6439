"""A kill in each phase of a run, at moments that a seed decides; `tests.benchmarks.killed_sweeps` does many."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_sweeps_killed_while_they_train_forget_and_write_end_as_if_undisturbed() -> None:
    words = [sys.executable, "-m", "tests.benchmarks.killed_sweeps", "--kills", "4", "--seed", "0"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 SIGKILLs" in done.stdout and "records and entries as undisturbed" in done.stdout
