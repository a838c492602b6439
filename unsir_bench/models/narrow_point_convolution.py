"""1x1 convolutions with a stride over few channels, computed on the positions that they see alone.

oneDNN's kernel for the gradient of their weights writes past its memory on CPUs with AVX2, where channels are innermost
and fewer than eight (https://github.com/uxlfoundation/oneDNN/issues/6035, still open for torch 2.14): the process dies,
or goes on with whatever was overwritten. ResNets narrower than eight filters have such layers. Without a stride the
kernel is another one.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

NARROW = 16  # channels; twice what is known to fail


class NarrowPointConv2d(nn.Conv2d):
    """A 1x1 convolution with a stride and without padding, on the CPU one without a stride of every so many positions.

    It has the parameters of the ``nn.Conv2d`` it stands for and computes the same.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.device.type != "cpu":
            output: Tensor = super()._conv_forward(input, weight, bias)
            return output
        down, across = self.stride
        return F.conv2d(input[..., ::down, ::across], weight, bias)


def with_narrow_point_convolutions(model: nn.Module) -> nn.Module:
    """The same network, whose strided 1x1 convolutions of few channels are ``NarrowPointConv2d``; changed in place."""
    convolutions = [module for module in model.modules() if type(module) is nn.Conv2d]
    for each in convolutions:
        pointwise = each.kernel_size == (1, 1) and each.padding == (0, 0) and each.groups == 1
        if pointwise and each.stride != (1, 1) and each.in_channels < NARROW:
            each.__class__ = NarrowPointConv2d
    return model
