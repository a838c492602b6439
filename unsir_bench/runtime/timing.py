"""The conditions that seconds depend on: seconds taken under different conditions are never compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def timing_conditions(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how long a computation takes.

    Args:
        environment: as a record has it.

    Returns:
        For a CUDA GPU its name; otherwise also the processor, its vector instructions (None in older records) and the
        number of threads.
    """
    unnamed = environment.get("device") in ("cpu", "mps")
    names = ("device", "cpu", "cpu_capability", "threads") if unnamed else ("device",)
    return {name: environment.get(name) for name in names}


def timed_on(conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Conditions to store beside seconds; for work resumed under others, a value that equals no run's conditions."""
    if len(conditions) == 1:
        return dict(conditions[0])
    return {"one after another": "; ".join(timing_words(each) for each in conditions)}


def timing_words(conditions: Mapping[str, Any]) -> str:
    """Timing conditions on one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in conditions.items() if value is not None)


def why_not_comparable(there: Mapping[str, Any] | None, here: Mapping[str, Any]) -> str | None:
    """Why stored seconds cannot be compared with this run's; None if they can, or if an old entry does not say.

    Args:
        there: the conditions stored beside the seconds.
        here: this run's conditions.
    """
    if there is None or there == here:
        return None
    return (
        f"the store's seconds were taken on {timing_words(there)}; this run is on {timing_words(here)}; "
        "an empty store.root takes them here"
    )
