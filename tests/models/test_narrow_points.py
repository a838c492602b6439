from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.models.cpu_kernels import NarrowPointConv2d, with_cpu_kernels
from unsir_bench.models.torchvision_models import ResNet18

# What the library's own convolutions die of on CPUs with AVX2.
NARROW_TRAINING = """
import torch
from unsir_bench.models.torchvision_models import ResNet18

torch.set_num_threads(1)
model = ResNet18(width=4, stem="cifar").initial((3, 8, 8), 10, 0).to(memory_format=torch.channels_last)
for _ in range(30):
    images = torch.randn(16, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    model(images).square().sum().backward()
assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
"""


@pytest.mark.parametrize("stride", [2, (1, 2), (3, 2)])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_the_librarys_convolution(
    stride: int | tuple[int, int], size: tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    ours = NarrowPointConv2d(4, 6, 1, stride=stride, bias=bias).double()
    given = torch.randn(3, 4, *size, dtype=torch.float64, requires_grad=True)
    same = given.detach().clone().requires_grad_()
    weights = [parameter.detach().clone().requires_grad_() for parameter in ours.parameters()]
    output, expected = ours(given), F.conv2d(same, *weights, stride=stride)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    slopes = torch.randn_like(expected)
    output.backward(slopes)
    expected.backward(slopes)
    pairs: list[tuple[Tensor, Tensor]] = [(given, same), *zip(ours.parameters(), weights, strict=True)]
    for found, wanted in pairs:
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-12, atol=1e-12)


def test_a_narrow_network_trains_without_harm_to_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NARROW_TRAINING], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_strided_points_of_few_channels_are_taken_and_others_left() -> None:
    layers: dict[str, nn.Module] = {
        "narrow": nn.Conv2d(4, 8, 1, stride=2),
        "wide": nn.Conv2d(16, 32, 1, stride=2),
        "no stride": nn.Conv2d(4, 8, 1),
        "kernel": nn.Conv2d(4, 8, 3, stride=2),
        "padded": nn.Conv2d(4, 8, 1, stride=2, padding=1),
        "grouped": nn.Conv2d(4, 8, 1, stride=2, groups=2),
    }
    model = nn.ModuleDict(layers)
    before = [id(parameter) for parameter in model.parameters()]
    assert with_cpu_kernels(model) is model
    assert [name for name, layer in model.items() if type(layer) is NarrowPointConv2d] == ["narrow"]
    assert [id(parameter) for parameter in model.parameters()] == before


@pytest.mark.parametrize(("width", "found"), [(4, 2), (16, 0)])
def test_only_networks_narrower_than_the_presets_have_any(width: int, found: int) -> None:
    model: Any = ResNet18(width=width).initial((3, 8, 8), 10, seed=0)
    assert sum(isinstance(module, NarrowPointConv2d) for module in model.modules()) == found
