"""A small network whose training draws random numbers and keeps running statistics."""

from __future__ import annotations

import torch
from torch import nn


def small_network() -> nn.Module:
    """Batch normalisation and dropout: running statistics and random draws must survive an interruption."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 10)
    )
