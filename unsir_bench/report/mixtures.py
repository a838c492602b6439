"""What a mean over runs mixes, in words: commits, kinds of CPU, unclean trees, definitions and ways to measure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unsir_bench.records import RunRecord
from unsir_bench.report.conditions import flattened

MADE_IN = ("commit", "dirty", "cpu", "cpu_capability", "evaluation_version")


def made_in(environment: Mapping[str, Any]) -> dict[str, Any]:
    """``MADE_IN`` of a record's environment; None: not known."""
    version = (environment.get("versions") or {}).get("EVALUATION_VERSION")
    known = {name: environment.get(name) for name in MADE_IN}
    return known | {"evaluation_version": None if version is None else str(version)}


def mixture_words(records: Sequence[RunRecord]) -> str:
    """What a mean over these records mixes (commits, CPUs, definitions, settings), and unclean trees, or nothing."""
    words = [surrounding_words([made_in(record.environment) for record in records]), _measured_words(records)]
    return ", ".join(filter(None, words))


def _measured_words(records: Sequence[RunRecord]) -> str:
    """Of which settings that change what a metric gives there are several values; a metric left out has none."""
    values: dict[str, set[str]] = defaultdict(set)
    for record in records:
        settings = record.measured_with
        relearn = settings.get("relearn") or {}
        known = {name: settings.get(name) for name in ("lira_shadows", "bank_size") if settings.get(name)}
        known |= dict(flattened(relearn, "relearn.")) if relearn.get("cap") else {}
        for name, value in known.items():
            values[name].add(repr(value))
    return ", ".join(f"{len(found)} values of metrics.{name}" for name, found in values.items() if len(found) > 1)


def surrounding_words(found: Sequence[Mapping[Any, Any]]) -> str:
    """What runs were made in, in words, where it is not one clean commit, kind of CPU and definition of metrics.

    Args:
        found: of each run, ``made_in`` of its record's environment; None or absent: not known.
    """
    commits, versions = ({each[name] for each in found if each.get(name)} for name in ("commit", "evaluation_version"))
    words = [
        f"{len(commits)} commits" if len(commits) > 1 else "",
        f"{len(versions)} values of EVALUATION_VERSION" if len(versions) > 1 else "",
        _cpu_words((each.get("cpu"), each.get("cpu_capability")) for each in found),
        "an unclean tree" if any(each.get("dirty") for each in found) else "",
    ]
    return ", ".join(filter(None, words))


def _cpu_words(machines: Iterable[tuple[str | None, str | None]]) -> str:
    """How many kinds of CPU these names and vector instructions are, where more than one: results differ by kind.

    Instructions that an older record does not say are taken to be those of another with the CPU's name.
    """
    known = {(name, capability) for name, capability in machines if name}
    told = {name for name, capability in known if capability}
    kinds = {(name, capability) for name, capability in known if capability or name not in told}
    return f"{len(kinds)} kinds of CPU" if len(kinds) > 1 else ""
