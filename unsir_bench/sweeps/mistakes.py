"""What is wrong with the runs of a sweep, found before the first of them starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from unsir_bench.config import Config, validate
from unsir_bench.errors import ConfigError
from unsir_bench.sweeps.outcome import SweepJob

# Launchers whose runs have the devices of this machine.
RUN_HERE = ("basic", "devices", "joblib", "local", "submitit_local", "ray_local")


def mistakes(jobs: Sequence[SweepJob], launcher: str) -> dict[str, list[str]]:
    """For each problem the runs that have it, by their overrides; no image is decoded.

    Args:
        jobs: of the sweep.
        launcher: Hydra's name of it. Runs of one that is not known to run here may have another machine's accelerator.
    """
    found: dict[str, list[str]] = {}
    for job in jobs:
        for problem in _problems(job, elsewhere=launcher not in RUN_HERE):
            found.setdefault(problem, []).append(" ".join(job.overrides))
    return found


def _problems(job: SweepJob, *, elsewhere: bool) -> list[str]:
    try:
        if isinstance(job.config, ConfigError):
            raise job.config
        if elsewhere:
            validate_for_elsewhere(job.config)
        else:
            validate(job.config)
    except ConfigError as error:
        return error.problems
    except Exception as error:  # as of a plug-in's check; the run tells more when its turn comes
        return [f"{type(error).__name__}: {error}"]
    return []


def validate_for_elsewhere(config: Config) -> None:
    """As ``validate``, but the accelerator may be another machine's: a login node plans for nodes with GPUs."""
    hardware = config.hardware
    here = replace(hardware, accelerator="auto", devices=1, precision="32-true") if hardware.absent else hardware
    validate(replace(config, hardware=here))


def told(problems: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Each problem once, with a run that has it."""
    for problem, runs in problems.items():
        whose = runs[0] if len(runs) == 1 else f"{len(runs)} runs, the first: {runs[0]}"
        yield f"cannot run: {whose}: {problem}"
