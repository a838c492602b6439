"""`unsir-bench prepare ...`: fetch the data and the weights of a sweep first, for machines without the internet."""

from __future__ import annotations

from collections.abc import Sequence


def prepare_command(words: Sequence[str]) -> int:
    """Fetch what the runs of a sweep would; with or without ``-m``.

    Returns:
        The exit status: 1 if anything cannot be fetched or read.
    """
    from unsir_bench.cli.run import sweep_command
    from unsir_bench.sweeps.prepare import prepare

    return sweep_command(words, prepare)
