"""What a launch tells of runs that were not done, whichever launcher it was."""

from __future__ import annotations

from pathlib import Path

from unsir_bench.errors import ConfigError
from unsir_bench.sweeps.outcome import Launch, SweepJob, troubles


def test_a_configuration_that_was_refused_is_told_with_its_command(tmp_path: Path) -> None:
    """Joblib, Slurm and Ray refuse it in a process of theirs, of which nobody reads what failed."""
    refused = SweepJob(("seed=0", "train.lr=0"), ConfigError(["train.lr=0: must be above 0"]))
    [told] = troubles(Launch(jobs=[refused]), tmp_path)
    assert (told.status, told.again) == ("failed", "unsir-bench seed=0 train.lr=0")
    assert "must be above 0" in told.reason
