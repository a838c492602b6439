"""Arithmetic in float64, which Apple's MPS does not have."""

from __future__ import annotations

import torch
from torch import Tensor


def device_of_float64(device: torch.device) -> torch.device:
    """The device itself, or the CPU if it has no float64 (MPS)."""
    return torch.device("cpu") if device.type == "mps" else device


def as_float64(tensor: Tensor) -> Tensor:
    """The tensor in float64, on ``device_of_float64`` of its device."""
    return tensor.to(device_of_float64(tensor.device)).double()
