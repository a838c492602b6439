"""Two convolutions that a library computes slowly or wrongly on CPUs, replaced by equal computations.

Small maps. torchvision's ResNet18 reduces a 32x32 image to maps of 2x2 and 1x1, where the 3x3 kernels of its last two
stages cover mostly padding: on a 1x1 map, eight of nine weights meet nothing else. A library's convolution still reads
them all and computes their gradients, which are zero. ``WholeMapConv2d`` uses one matrix product instead.

Few channels. On CPUs with AVX2, channels last and fewer than eight channels, oneDNN's kernel for the weight gradient of
a strided 1x1 convolution writes past its memory (https://github.com/uxlfoundation/oneDNN/issues/6035, still open for
torch 2.14): the process dies, or goes on with whatever was overwritten. ResNets narrower than eight filters have such
layers. Without a stride another kernel runs, so ``NarrowPointConv2d`` takes every n-th position first.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Below these the matrix product gains nothing: narrower layers take a millisecond a step either way, and for few images
# laying out the matrix takes longer.
LEAST_WEIGHTS = 3 * 3 * 64 * 64
LEAST_BATCH = 32
NARROW = 16  # input channels; twice what is known to fail


class WholeMapConv2d(nn.Conv2d):
    """A convolution that becomes a matrix product on the CPU wherever each output sees the whole map.

    It has the parameters of the ``nn.Conv2d`` it replaces and computes the same up to the order of sums. Small batches,
    and convolutions for which ``is_plain`` is false, use the library's convolution.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.device.type == "cpu" and input.ndim == 4 and len(input) >= LEAST_BATCH and is_plain(self):
            down, across = axes(self, input)
            if down.outputs_see_all and across.outputs_see_all:
                return _matrix_product(input, down, across, weight, bias)
        return super()._conv_forward(input, weight, bias)  # type: ignore[no-any-return]


class NarrowPointConv2d(nn.Conv2d):
    """A strided 1x1 convolution without padding; on the CPU an unstrided one of every n-th position.

    It has the parameters of the ``nn.Conv2d`` it replaces and computes the same.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.device.type != "cpu":
            return super()._conv_forward(input, weight, bias)  # type: ignore[no-any-return]
        down, across = self.stride
        return F.conv2d(input[..., ::down, ::across], weight, bias)


@dataclass(frozen=True)
class Axis:
    """One direction of a convolution: input size, kernel size, stride and padding, all in positions."""

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
        """Whether the first window reaches the last position and the last window the first; False without a window."""
        last = (self.outputs - 1) * self.stride
        return self.outputs > 0 and self.size + self.padding <= self.kernel and last <= self.padding

    def taps(self, output: int) -> slice:
        """The kernel positions that lie over the input for one output."""
        first = self.padding - output * self.stride
        return slice(first, first + self.size)


def is_plain(convolution: nn.Conv2d) -> bool:
    """Whether a convolution has one group, no dilation, and zero padding given as numbers."""
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
    """The convolution of (batch, channels, height, width); a row of weights per output."""
    kernels = weight.permute(0, 2, 3, 1)  # channels innermost, as images and weights have them in the faster layout
    places = list(product(range(down.outputs), range(across.outputs)))
    rows = [kernels[:, down.taps(y), across.taps(x)].flatten(1) for y, x in places]
    matrix = torch.cat(rows) if len(rows) > 1 else rows[0]
    everywhere = None if bias is None else bias.repeat(len(rows))
    flat: Tensor = F.linear(input.permute(0, 2, 3, 1).flatten(1), matrix, everywhere)
    # Cloned, since an in-place change of a view would drop the hooks registered on it.
    return flat.view(len(input), down.outputs, across.outputs, len(weight)).permute(0, 3, 1, 2).clone()


def with_cpu_kernels(model: nn.Module) -> nn.Module:
    """The same network, changed in place: its convolutions become the kinds above where these are of use."""
    for each in model.modules():
        if type(each) is nn.Conv2d and is_plain(each):
            if each.kernel_size != (1, 1) and each.weight.numel() >= LEAST_WEIGHTS:
                each.__class__ = WholeMapConv2d
            elif _is_narrow_point(each):
                each.__class__ = NarrowPointConv2d
    return model


def _is_narrow_point(convolution: nn.Conv2d) -> bool:
    """Whether a plain convolution is 1x1 with a stride, without padding, over few channels."""
    point = convolution.kernel_size == (1, 1) and convolution.padding == (0, 0)
    return point and convolution.stride != (1, 1) and convolution.in_channels < NARROW
