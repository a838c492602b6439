"""What a method cost: seconds, speed-up over retraining, samples read, optimiser steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.references.trained_models import TrainedModel
from unsir_bench.training.context import RunContext


def costs(
    context: RunContext, split: ForgetSplit, access: Mapping[str, Any], retrained: TrainedModel | None
) -> dict[str, float | int | None]:
    """Costs of the method so far, by metric name.

    Args:
        context: clock and steps of the run.
        split: of all that is forgotten by now: the unit of ``<kind>_passes``.
        access: ``samples`` touched and ``reads`` of ``retain`` and ``forget`` samples.
        retrained: the model retrained without the forget samples, for the speed-up.
    """
    seconds = context.clock.total
    worked = context.clock.phases or context.steps or any(access[kind]["reads"] for kind in ("retain", "forget"))
    sizes = {"retain": len(split.retain_train), "forget": len(split.forget_train)}
    return {
        "unlearn_seconds": seconds,
        "retrain_seconds": retrained.seconds if retrained else None,
        "speedup_vs_retrain": retrained.seconds / seconds if retrained and worked else None,
        **{f"{kind}_samples_touched": access[kind]["samples"] for kind in sizes},
        **{f"{kind}_passes": access[kind]["reads"] / size if size else None for kind, size in sizes.items()},
        **{f"{phase}_seconds": value for phase, value in context.clock.phases.items()},
        **{f"{phase}_steps": count for phase, count in context.steps.items()},
    }


def stopped_meanwhile(context: RunContext, retrained: TrainedModel | None) -> dict[str, str]:
    """The detail that says why seconds should be read with care: a process was stopped while its clock ran."""
    counts = {"the method": context.clock.stops, "retraining": retrained.manifest.get("stops", 0) if retrained else 0}
    if not (whose := [name for name, count in counts.items() if count]):
        return {}
    return {
        "seconds_caution": f"the process was stopped (Ctrl-Z, kill -STOP) during {' and '.join(whose)}, whose seconds "
        "hold the time of the stop"
    }


def not_comparable(context: RunContext, retrained: TrainedModel | None) -> dict[str, str]:
    """By metric name, why a cost is null: the store's seconds are of another machine or number of threads."""
    why = {f"{phase}_seconds": reason for phase, reason in context.timed_elsewhere.items()}
    if why:
        why["unlearn_seconds"] = next(iter(why.values()))
    if retrained is not None and (reason := context.why_not_timed_here(retrained.manifest)) is not None:
        why["retrain_seconds"] = reason
    return why | ({"speedup_vs_retrain": next(iter(why.values()))} if why else {})
