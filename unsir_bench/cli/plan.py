"""`unsir-bench plan ...`: what a sweep would train, reuse and skip, and about how long it would take."""

from __future__ import annotations

from collections.abc import Sequence


def plan_command(words: Sequence[str]) -> int:
    """Print the plan of a sweep, with or without ``-m``; returns the exit status."""
    from unsir_bench.cli.run import sweep_command
    from unsir_bench.sweeps.plan import print_plan

    return sweep_command(words, print_plan)
