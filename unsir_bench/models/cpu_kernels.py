"""Convolutions whose every output sees the whole map, computed as the matrix products that they are.

torchvision's ResNet18 brings a 32x32 image down to maps of 2x2 and 1x1, on which the 3x3 kernels of its last two stages
are mostly laid over padding: on a map of 1x1 eight of nine weights meet nothing else. A library's convolution reads
them all the same, and forms their gradients, which are zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Narrower layers take a millisecond a step either way; for few images it takes longer to lay out the matrix.
LEAST_WEIGHTS = 3 * 3 * 64 * 64
LEAST_BATCH = 32


class WholeMapConv2d(nn.Conv2d):
    """A convolution that on the CPU is a matrix product wherever each of its outputs sees the whole map.

    It has the parameters of the ``nn.Conv2d`` it stands for and computes the same, but for the order of sums. Small
    batches are left to the library's convolution, as is all that ``is_plain`` does not hold for.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.device.type == "cpu" and input.ndim == 4 and len(input) >= LEAST_BATCH and is_plain(self):
            down, across = axes(self, input)
            if down.outputs_see_all and across.outputs_see_all:
                return _matrix_product(input, down, across, weight, bias)
        output: Tensor = super()._conv_forward(input, weight, bias)
        return output


@dataclass(frozen=True)
class Axis:
    """One direction of a convolution: positions of its input, of its kernel, between windows and of padding."""

    size: int
    kernel: int
    stride: int
    padding: int

    @property
    def outputs(self) -> int:
        """Positions of the output."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def outputs_see_all(self) -> bool:
        """Whether the first window reaches the last position, and the last window the first; False without a window."""
        last = (self.outputs - 1) * self.stride
        return self.outputs > 0 and self.size + self.padding <= self.kernel and last <= self.padding

    def taps(self, output: int) -> slice:
        """The positions of the kernel that meet the input's for one output."""
        first = self.padding - output * self.stride
        return slice(first, first + self.size)


def is_plain(convolution: nn.Conv2d) -> bool:
    """Whether its channels are in one group, its kernel is not dilated, and it pads with a number of zeros."""
    return (
        convolution.groups == 1
        and convolution.dilation == (1, 1)
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )


def axes(convolution: nn.Conv2d, input: Tensor) -> tuple[Axis, Axis]:
    """Both directions of a plain convolution of images (batch, channels, height, width)."""
    padding = cast("tuple[int, int]", convolution.padding)
    sizes = zip(input.shape[-2:], convolution.kernel_size, convolution.stride, padding, strict=True)
    down, across = (Axis(*each) for each in sizes)
    return down, across


def _matrix_product(input: Tensor, down: Axis, across: Axis, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of (batch, channels, height, width), each output a row of weights over positions and channels."""
    kernels = weight.permute(0, 2, 3, 1)  # channels innermost, as images and weights have them in the faster layout
    places = list(product(range(down.outputs), range(across.outputs)))
    rows = [kernels[:, down.taps(y), across.taps(x)].flatten(1) for y, x in places]
    matrix = torch.cat(rows) if len(rows) > 1 else rows[0]
    everywhere = None if bias is None else bias.repeat(len(rows))
    flat: Tensor = F.linear(input.permute(0, 2, 3, 1).flatten(1), matrix, everywhere)
    # A view would be no output of its own to hooks: what changes it in place would take them off it.
    return flat.view(len(input), down.outputs, across.outputs, len(weight)).permute(0, 3, 1, 2).clone()


def with_whole_map_products(model: nn.Module) -> nn.Module:
    """The same network, whose plain convolutions with many weights are ``WholeMapConv2d``; changed in place."""
    convolutions = [module for module in model.modules() if type(module) is nn.Conv2d]
    for each in convolutions:
        if is_plain(each) and each.kernel_size != (1, 1) and each.weight.numel() >= LEAST_WEIGHTS:
            each.__class__ = WholeMapConv2d
    return model
