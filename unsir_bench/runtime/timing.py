"""What seconds depend on: those taken under other conditions are not compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def timing_conditions(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how long a computation takes: seconds taken under other conditions are not compared.

    Args:
        environment: as a record has it.

    Returns:
        Of a CUDA GPU its name; elsewhere also the processor, its vector instructions (None in older records) and the
        number of threads.
    """
    unnamed = environment.get("device") in ("cpu", "mps")
    names = ("device", "cpu", "cpu_capability", "threads") if unnamed else ("device",)
    return {name: environment.get(name) for name in names}


def timed_on(conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What seconds were taken on; of work that was resumed under other conditions what no run's conditions equal."""
    if len(conditions) == 1:
        return dict(conditions[0])
    return {"one after another": "; ".join(timing_words(each) for each in conditions)}


def timing_words(conditions: Mapping[str, Any]) -> str:
    """What ``timing_conditions`` gives, on one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in conditions.items() if value is not None)
