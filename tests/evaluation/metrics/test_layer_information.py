"""Information layer by layer: the known one of two normal distributions, and what layers receive, by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn

from unsir_bench.data.device_data import DeviceData
from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.feature_probe import ProbeSamples
from unsir_bench.evaluation.metrics.layer_information import information_difference, linear_information
from unsir_bench.models.timm_models import TimmModel
from unsir_bench.training.context import RunContext
from unsir_bench.training.inference import layer_inputs, outputs


def samples(distance: float, count: int = 4000, share: float = 0.5) -> ProbeSamples:
    """Two classes, normal along one axis ``distance`` apart, with two axes of noise."""
    draws = torch.Generator().manual_seed(0)
    parts = []
    for _ in range(2):
        labels = (torch.rand(count, generator=draws) < share).long()
        features = torch.randn(count, 3, generator=draws)
        features[:, 0] += distance * labels
        parts += [features, labels]
    return ProbeSamples(*parts, [1])


def bits_of_two_normals(distance: float) -> float:
    """I(X; Y) of Y uniform on two classes and X ~ N(distance · Y, 1), by numerical integration."""

    def integrand(x: float, own: float, other: float) -> float:
        density = stats.norm.pdf(x, own)
        return float(density * math.log2(2 * density / (density + stats.norm.pdf(x, other))))

    ends = (-8, distance + 8)
    return sum(integrate.quad(integrand, *ends, args=pair)[0] / 2 for pair in ((0, distance), (distance, 0)))


@pytest.mark.parametrize("distance", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_of_two_normals_it_is_the_mutual_information_whatever_the_share_of_classes(
    distance: float, share: float
) -> None:
    # A linear probe is the optimal one here, so that nothing of the information is out of its reach.
    bits, auc = linear_information(samples(distance, share=share), seed=0)
    assert bits == pytest.approx(bits_of_two_normals(distance), abs=0.04)
    assert auc == pytest.approx(stats.norm.cdf(distance / math.sqrt(2)), abs=0.03)


def test_noise_and_constants_hold_nothing_and_less_than_nothing_is_nothing() -> None:
    bits, auc = linear_information(samples(0.0, count=60), seed=0)
    assert bits == 0 and 0 <= auc <= 1
    constant = samples(0.0)._replace(train=torch.ones(4000, 3), test=torch.ones(4000, 3))
    assert linear_information(constant, seed=0) == (0.0, 0.5)


def test_nan_features_are_refused() -> None:
    broken = samples(1.0)
    broken.test[3, 1] = math.nan
    with pytest.raises(MetricUnavailable, match="NaN"):
        linear_information(broken, seed=0)


def test_the_index_is_0_as_retrained_1_as_the_original_and_undefined_where_nothing_was_known() -> None:
    assert information_difference(2.0, 3.0, 2.0) == 0
    assert information_difference(3.0, 3.0, 2.0) == 1
    assert information_difference(1.5, 3.0, 2.0) == -0.5
    with pytest.raises(MetricUnavailable, match="nothing was there"):
        information_difference(1.0, 2.005, 2.0)


def test_layers_are_read_in_order_and_the_last_is_what_the_head_receives(
    make_context: Callable[..., RunContext], digits: DeviceData
) -> None:
    context = make_context()
    model, view = context.initial_network().train(), digits.view("test")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = layer_inputs(model, view, context, "", 4)
    assert len(found) == 4 and list(found)[-1] == "head"
    assert torch.equal(found["head"], outputs(model, view, context, "").features)
    # A convolution's input by hand: all layers before it, one sample at a time, and the mean over pixels.
    name = next(iter(found))
    means: list[np.ndarray] = []
    handle = model.get_submodule(name).register_forward_pre_hook(
        lambda _, inputs: means.append(inputs[0].double().flatten(2).sum(dim=2).numpy() / inputs[0][0, 0].numel())
    )
    model.eval()
    with torch.no_grad():
        for images, _ in view.batches(1):
            model(images)
    handle.remove()
    model.train()
    np.testing.assert_allclose(found[name].numpy(), np.concatenate(means), rtol=1e-3, atol=1e-5)
    assert model.training and all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("convnext_atto", {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 12, "depths": (1, 2), "num_heads": (2, 4), "window_size": 4}),
    ],
)
def test_channels_that_come_last_stay_and_layers_over_windows_are_left_out(
    make_context: Callable[..., RunContext], arch: str, options: dict[str, object]
) -> None:
    """Linear layers of ConvNeXt and Swin receive (images, height, width, channels), Swin's attention windows."""
    context = make_context(TimmModel(arch=arch, options=options), image_shape=(3, 64, 64))
    view = MagicMock(batches=lambda size: iter([(torch.zeros(min(size, 3), 3, 64, 64), torch.zeros(min(size, 3)))]))
    view.__len__.return_value = 3
    model = context.initial_network()
    widths = {name: module.in_features for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    found = layer_inputs(model, view, context, "", 6)
    linear = {name: tuple(tensor.shape) for name, tensor in found.items() if name in widths}
    assert linear and linear == {name: (3, widths[name]) for name in linear}


def test_a_layer_of_ones_own_over_maps_has_its_channels_second(make_context: Callable[..., RunContext]) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(5, 1))

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            return maps * self.weight[None, :, :, None]

    view = MagicMock(batches=lambda size: iter([(torch.ones(min(size, 3), 1, 8, 6), torch.zeros(min(size, 3)))]))
    view.__len__.return_value = 3
    model = nn.Sequential(nn.Conv2d(1, 5, 1), Scaled(), nn.Flatten(), nn.Linear(5 * 8 * 6, 10))
    found = layer_inputs(model, view, make_context(), "", 3)
    assert {name: tensor.shape[1] for name, tensor in found.items()} == {"1": 5, "3": 5 * 8 * 6}


def test_tokens_are_averaged_and_a_model_of_one_layer_has_nothing_to_read(
    make_context: Callable[..., RunContext], digits: DeviceData
) -> None:
    options = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    context = make_context(TimmModel(arch="vit_tiny_patch16_224", options=options))
    found = layer_inputs(context.initial_network(), digits.view("test"), context, "", 5)
    assert len(found) == 5
    assert {tensor.shape for tensor in found.values()} <= {(len(digits.labels("test")), size) for size in (16, 32)}
    one = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert layer_inputs(one, digits.view("test"), context, "", 5) == {}
