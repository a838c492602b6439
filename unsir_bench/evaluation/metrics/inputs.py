"""What every metric demands of its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unsir_bench.errors import MetricUnavailable

if TYPE_CHECKING:
    from unsir_bench.evaluation.metric_inputs import MetricInputs


def require_finite(what: str, *values: Tensor) -> None:
    """Raise ``MetricUnavailable`` where a tensor is empty or holds NaN or infinite numbers."""
    for value in values:
        if value.numel() == 0:
            raise MetricUnavailable(f"there are no {what}")
        if not bool(torch.isfinite(value).all()):
            raise MetricUnavailable(f"some {what} are NaN or infinite")


def whole_classes(inputs: MetricInputs, why: str) -> tuple[int, ...]:
    """The forgotten classes; ``MetricUnavailable``, with ``why`` classes are needed, where other samples are forgotten.

    In a sequence a class may be forgotten after some of its samples.
    """
    run = inputs.run
    if run.split.classes:
        return run.split.classes
    if not run.forgotten_classes:
        raise MetricUnavailable(f"no class is forgotten, and {why}")
    if not set(inputs.labels("forget_train").tolist()) <= set(run.forgotten_classes):
        raise MetricUnavailable(f"samples of kept classes are forgotten, too, and {why}")
    return run.forgotten_classes


def measured(inputs: MetricInputs, *names: str) -> list[float]:
    """What has been measured; ``MetricUnavailable`` where any of it is null or absent."""
    found = {name: inputs.values.get(name) for name in names}
    if missing := [name for name, value in found.items() if value is None]:
        raise MetricUnavailable(f"needs {', '.join(missing)}, which this run does not have")
    return [value for value in found.values() if value is not None]
