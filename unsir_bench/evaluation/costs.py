"""What a method cost: seconds, speed-up over retraining, samples read, optimiser steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext

Trainings = Sequence[Mapping[str, Any] | None]


def costs(
    context: RunContext, split: ForgetSplit, access: Mapping[str, Any], retrained: Trainings
) -> dict[str, float | int | None]:
    """Costs of the method so far, by metric name.

    Args:
        context: clock and steps of the run.
        split: of all that is forgotten by now: the unit of ``<kind>_passes``.
        access: ``samples`` touched and ``reads`` of ``retain`` and ``forget`` samples.
        retrained: for each request so far, the manifest of the model retrained without all that was forgotten by then;
            None where there is no such model. The speed-up is over retraining at each request, since the clock is of
            all requests.
    """
    seconds, latest = context.clock.total, retrained[-1]
    worked = context.clock.phases or context.steps or any(access[kind]["reads"] for kind in ("retain", "forget"))
    sizes = {"retain": len(split.retain_train), "forget": len(split.forget_train)}
    each = [float(training["seconds"]) for training in retrained if training is not None]
    all_retrained = sum(each) if len(each) == len(retrained) else None
    return {
        "unlearn_seconds": seconds,
        "retrain_seconds": float(latest["seconds"]) if latest is not None else None,
        **({"retrain_seconds_so_far": all_retrained} if len(retrained) > 1 else {}),
        "speedup_vs_retrain": all_retrained / seconds if all_retrained is not None and worked else None,
        **{f"{kind}_samples_touched": access[kind]["samples"] for kind in sizes},
        **{f"{kind}_passes": access[kind]["reads"] / size if size else None for kind, size in sizes.items()},
        **{f"{phase}_seconds": value for phase, value in context.clock.phases.items()},
        **{f"{phase}_steps": count for phase, count in context.steps.items()},
    }


def stopped_meanwhile(context: RunContext, retrained: Trainings) -> dict[str, str]:
    """The detail that says why seconds should be read with care: a process was stopped while its clock ran."""
    retraining = sum(training.get("stops", 0) for training in retrained if training is not None)
    counts = {"the method": context.clock.stops, "retraining": retraining}
    if not (whose := [name for name, count in counts.items() if count]):
        return {}
    return {
        "seconds_caution": f"the process was stopped (Ctrl-Z, kill -STOP) during {' and '.join(whose)}, whose seconds "
        "hold the time of the stop"
    }


def not_comparable(context: RunContext, retrained: Trainings) -> dict[str, str]:
    """By metric name, why a cost is null: the store's seconds are of another machine or number of threads."""
    why = {f"{phase}_seconds": reason for phase, reason in context.timed_elsewhere.items()}
    if why:
        why["unlearn_seconds"] = next(iter(why.values()))
    reasons = [None if training is None else context.why_not_timed_here(training) for training in retrained]
    if reasons[-1] is not None:
        why["retrain_seconds"] = reasons[-1]
    if len(retrained) > 1 and (known := [reason for reason in reasons if reason is not None]):
        why["retrain_seconds_so_far"] = known[0]
    return why | ({"speedup_vs_retrain": next(iter(why.values()))} if why else {})
