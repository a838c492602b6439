"""What every metric demands of its inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from unsir_bench.errors import MetricUnavailable


def require_finite(what: str, *values: Tensor) -> None:
    """Raise ``MetricUnavailable`` where a tensor is empty or holds NaN or infinite numbers."""
    for value in values:
        if value.numel() == 0:
            raise MetricUnavailable(f"there are no {what}")
        if not bool(torch.isfinite(value).all()):
            raise MetricUnavailable(f"some {what} are NaN or infinite")
