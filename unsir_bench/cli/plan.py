"""`unsir-bench plan ...`: what a sweep would train, reuse and skip, and about how long it would take."""

from __future__ import annotations

from collections.abc import Sequence


def plan_command(words: Sequence[str]) -> int:
    """Print the plan of a sweep, with or without ``-m``; returns the exit status."""
    from unsir_bench.cli.run import run_command

    return run_command(["--multirun", *(word for word in words if word not in ("-m", "--multirun"))], plan_only=True)
