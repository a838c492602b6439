from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.models import cpu_kernels
from unsir_bench.models.cpu_kernels import Axis, WholeMapConv2d, with_cpu_kernels
from unsir_bench.models.torchvision_models import ResNet18

LAYOUTS = {"first": torch.contiguous_format, "last": torch.channels_last}
# Settings of a convolution and the height and width of its input, of which every output sees all.
WHOLE: list[tuple[dict[str, Any], tuple[int, int]]] = [
    ({"kernel_size": 3, "padding": 1, "bias": False}, (1, 1)),
    ({"kernel_size": 3, "padding": 1}, (2, 2)),
    ({"kernel_size": 3, "padding": 1, "stride": 2}, (2, 2)),
    ({"kernel_size": 3, "padding": 1}, (1, 2)),
    ({"kernel_size": 7, "padding": 3, "stride": 2}, (4, 3)),
    ({"kernel_size": 5}, (5, 5)),
    ({"kernel_size": (2, 4), "padding": (0, 2), "stride": (1, 2)}, (2, 2)),
]
PART: list[tuple[dict[str, Any], tuple[int, int]]] = [
    ({"kernel_size": 3, "padding": 1}, (3, 3)),
    ({"kernel_size": 3, "padding": 1}, (2, 3)),
    ({"kernel_size": 3, "padding": 1, "stride": 2}, (4, 4)),
    ({"kernel_size": 3}, (4, 3)),
    ({"kernel_size": 3, "padding": 2}, (2, 2)),
]


@pytest.fixture(autouse=True)
def any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_kernels, "LEAST_BATCH", 0)


def convolution(settings: dict[str, Any], layout: torch.memory_format = torch.contiguous_format) -> WholeMapConv2d:
    torch.manual_seed(0)
    return WholeMapConv2d(4, 6, **settings).double().to(memory_format=layout)  # type: ignore[call-overload,no-any-return]


def images(size: tuple[int, int], layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    drawn = torch.randn(5, 4, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return drawn.contiguous(memory_format=layout).requires_grad_()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """The shapes of the inputs that the library's convolution was called with."""
    seen: list[tuple[int, ...]] = []
    usual = nn.Conv2d._conv_forward

    def noted(self: nn.Conv2d, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        seen.append(tuple(input.shape))
        return usual(self, input, weight, bias)

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", noted)
    yield seen


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(("settings", "size"), WHOLE + PART)
def test_outputs_and_gradients_are_those_of_the_librarys_convolution(
    settings: dict[str, Any], size: tuple[int, int], layout: torch.memory_format
) -> None:
    ours, given = convolution(settings, layout), images(size, layout)
    plain, same = copy.deepcopy(ours), given.detach().clone().requires_grad_()
    output = ours(given)
    expected = F.conv2d(same, plain.weight, plain.bias, plain.stride, plain.padding)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    slopes = torch.randn_like(expected)
    output.backward(slopes)
    expected.backward(slopes)
    for found, wanted in [(given, same), *zip(ours.parameters(), plain.parameters(), strict=True)]:
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("settings", "size"), WHOLE)
def test_a_map_that_is_seen_whole_needs_no_convolution(
    settings: dict[str, Any], size: tuple[int, int], library: list[tuple[int, ...]]
) -> None:
    convolution(settings)(images(size))
    assert library == []


@pytest.mark.parametrize(("settings", "size"), PART)
def test_a_map_that_is_seen_in_part_is_left_to_the_library(
    settings: dict[str, Any], size: tuple[int, int], library: list[tuple[int, ...]]
) -> None:
    convolution(settings)(images(size))
    assert library == [(5, 4, *size)]


@pytest.mark.parametrize(("count", "left"), [(31, True), (32, False)])
def test_a_small_batch_is_left_to_the_library(
    count: int, left: bool, library: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_kernels, "LEAST_BATCH", 32)
    convolution({"kernel_size": 3, "padding": 1})(torch.randn(count, 4, 1, 1, dtype=torch.float64))
    assert bool(library) is left


@pytest.mark.parametrize(
    "settings",
    [
        {"padding": 1, "padding_mode": "circular"},
        {"padding": 2, "dilation": 2},
        {"padding": 1, "groups": 2},
        {"padding": "same"},
    ],
    ids=str,
)
def test_what_it_was_not_made_for_is_left_to_the_library(settings: dict[str, Any]) -> None:
    ours = convolution({"kernel_size": 3, **settings})
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 6, 3, **settings).double()
    assert torch.equal(ours(images((2, 2))), plain(images((2, 2))))


def test_an_image_alone_and_no_image_at_all_are_as_the_library_has_them() -> None:
    ours = convolution({"kernel_size": 3, "padding": 1})
    one = images((2, 2))[0]
    torch.testing.assert_close(ours(one), F.conv2d(one, ours.weight, ours.bias, padding=1), rtol=1e-12, atol=1e-12)
    assert ours(images((2, 2))[:0]).shape == (0, 6, 2, 2)


def test_a_map_smaller_than_the_kernel_is_refused_in_the_librarys_words() -> None:
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        convolution({"kernel_size": 3})(images((2, 2)))


def test_a_hook_on_an_output_that_is_changed_in_place_is_heard() -> None:
    heard: list[Tensor] = []
    ours = convolution({"kernel_size": 3, "padding": 1})
    ours.register_forward_hook(lambda _module, _inputs, output: output.register_hook(heard.append) and None)
    ours(images((2, 2))).relu_().sum().backward()
    assert [gradient.shape for gradient in heard] == [(5, 6, 2, 2)]


def test_elsewhere_than_on_the_cpu_the_librarys_convolution_is_used(library: list[tuple[int, ...]]) -> None:
    convolution({"kernel_size": 3, "padding": 1}).to("meta")(images((1, 1)).to("meta"))
    assert library == [(5, 4, 1, 1)]


def test_an_axis_is_seen_whole_where_every_window_holds_every_position() -> None:
    found = set()
    for size, kernel, stride, padding in product(range(1, 6), range(1, 8), range(1, 4), range(4)):
        axis = Axis(size, kernel, stride, padding)
        windows = [range(at * stride - padding, at * stride - padding + kernel) for at in range(axis.outputs)]
        whole = bool(windows) and all(position in window for window in windows for position in range(size))
        assert axis.outputs_see_all == whole, axis
        found.add(whole)
    assert found == {True, False}


def test_gradients_and_outputs_are_laid_out_with_channels_innermost() -> None:
    # Else each step copies them.
    ours = convolution({"kernel_size": 3, "padding": 1}, torch.channels_last)
    output = ours(images((2, 2), torch.channels_last))
    output.sum().backward()
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert ours.weight.grad is not None
    assert ours.weight.grad.stride() == ours.weight.stride()


def test_mixed_precision_rounds_it_as_it_does_a_convolution() -> None:
    ours = convolution({"kernel_size": 3, "padding": 1}).float()
    given = images((2, 2)).detach().float()
    with torch.autocast("cpu", torch.bfloat16):
        output, expected = ours(given), F.conv2d(given, ours.weight, ours.bias, padding=1)
    assert output.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(output, expected)


def test_wide_plain_convolutions_are_taken_and_others_left() -> None:
    layers: dict[str, nn.Module] = {
        "wide": nn.Conv2d(64, 64, 3, padding=1),
        "narrow": nn.Conv2d(64, 63, 3, padding=1),
        "one": nn.Conv2d(256, 256, 1),
        "grouped": nn.Conv2d(256, 256, 3, groups=2),
        "dilated": nn.Conv2d(64, 64, 3, dilation=2),
        "reflected": nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"),
        "same": nn.Conv2d(64, 64, 3, padding="same"),
        "linear": nn.Linear(256, 256),
    }
    model = nn.ModuleDict(layers)
    before = {name: (id(value), value.clone()) for name, value in model.named_parameters()}
    assert with_cpu_kernels(model) is model
    assert [name for name, layer in model.items() if type(layer) is WholeMapConv2d] == ["wide"]
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    assert all(id(after[name]) == place and torch.equal(after[name], value) for name, (place, value) in before.items())


def test_resnet18_on_32x32_is_torchvisions_with_the_gradients_of_torchvisions(
    library: list[tuple[int, ...]],
) -> None:
    config = ResNet18()
    ours = config.initial((3, 32, 32), 10, seed=0).double()
    theirs = config.build((3, 32, 32), 10).double()
    theirs.load_state_dict(ours.state_dict())
    given = torch.randn(8, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits, left = ours(given), len(library)
    expected = theirs(given)
    # Of 20, the three 3x3 ones at 2x2, the four of the last stage.
    assert (left, len(library) - left) == (13, 20)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for (name, found), wanted in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert found.grad is not None
        assert wanted.grad is not None
        error = float((found.grad - wanted.grad).norm() / wanted.grad.norm())
        assert error < 1e-8, name
