"""A linearised network and its least squares, against one backward pass for each logit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.baselines.solved_scene import SolvedScene, solved_scene
from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import DeviceData
from unsir_bench.errors import NotApplicable, NotEnoughMemoryError
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.frozen_head import FrozenHeadConfig, LinearisedNetwork
from unsir_bench.runtime import available_memory
from unsir_bench.training import linearised
from unsir_bench.training.context import RunContext
from unsir_bench.training.inference import outputs

L2 = 0.5


@pytest.fixture
def scene(digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path) -> SolvedScene:
    return solved_scene(digits, tmp_path, make_context, classifier="linearised", l2=L2)


def network_of(scene: SolvedScene) -> LinearisedNetwork:
    model = scene.original
    assert isinstance(model, LinearisedNetwork)
    return model


def rows_of(network: LinearisedNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives (samples, classes, weights) and logits (samples, classes) of the core, in float64."""
    core = linearised.in_float64(network.backbone)
    weights = [core.get_parameter(name) for name in network.names]
    logits = core(images.double())
    rows = [torch.cat([part.flatten() for part in torch.autograd.grad(logit, weights, retain_graph=True)])
            for logit in logits.flatten()]  # fmt: skip
    return torch.stack(rows).view(*logits.shape, -1), logits.detach()


def images_of(view: DataView) -> tuple[Tensor, Tensor]:
    return next(view.uncounted().batches(len(view)))


def test_the_linear_part_of_a_reference_is_ridge_by_least_squares(scene: SolvedScene) -> None:
    view = scene.data.view("train", scene.split.retain_train)
    images, labels = images_of(view)
    model = scene.retrained
    assert isinstance(model, LinearisedNetwork)
    rows, logits = rows_of(model, images)
    lacking = nn.functional.one_hot(labels, 10).double() - logits
    weights = rows.shape[2]
    stacked = torch.cat([rows.flatten(0, 1), L2**0.5 * torch.eye(weights, dtype=torch.float64)])
    targets = torch.cat([lacking.flatten(), torch.zeros(weights, dtype=torch.float64)])
    expected = torch.linalg.lstsq(stacked, targets[:, None], driver="gelsd").solution[:, 0]
    assert expected.norm() > 0.1
    torch.testing.assert_close(model.get_parameter("head.change").detach(), expected, rtol=0, atol=1e-8)


def test_logits_are_those_of_the_core_and_the_derivatives_times_the_change(scene: SolvedScene) -> None:
    model, view = network_of(scene), scene.data.view("train", torch.arange(7))
    images, _ = images_of(view)
    rows, logits = rows_of(model, images)
    expected = (logits + rows @ model.get_parameter("head.change").detach()).float()
    assert float((expected - logits).abs().max()) > 0.1
    found = outputs(model, view, scene.context, "in inference mode")
    torch.testing.assert_close(found.logits, expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(model(images), found.logits)
        features = model.backbone.features(images).mean(dim=(2, 3))  # type: ignore[operator]
    assert found.features is not None
    torch.testing.assert_close(found.features, features)


def test_gradients_of_the_change_are_the_derivatives(scene: SolvedScene) -> None:
    model = network_of(scene)
    images, _ = images_of(scene.data.view("train", torch.arange(3)))
    rows, _ = rows_of(model, images)
    weighting = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((model(images) * weighting).sum(), [model.get_parameter("head.change")])
    torch.testing.assert_close(gradient, torch.einsum("ncw,nc->w", rows, weighting.double()), rtol=1e-4, atol=1e-4)


def test_the_last_layer_alone_is_a_linear_head_with_another_weight(scene: SolvedScene) -> None:
    """A linear layer is its own first-order expansion."""
    network = FrozenHeadConfig(backbone=AllCNNConfig(width=4), classifier="linearised", layers=1).initial(
        (1, 8, 8), 10, 0
    )
    assert isinstance(network, LinearisedNetwork) and network.names == ["head.weight", "head.bias"]
    change = torch.randn(90, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    network.head.get_parameter("change").data.copy_(change)
    network.eval()
    images, _ = images_of(scene.data.view("train", torch.arange(5)))
    with torch.no_grad():
        linearised_logits = network(images)
        own = network.backbone.get_submodule("head")
        own.weight += change[:80].view(10, 8)  # type: ignore[operator]
        own.bias += change[80:]  # type: ignore[operator]
        torch.testing.assert_close(linearised_logits, network.backbone(images), rtol=1e-5, atol=1e-5)


def test_methods_that_change_rows_of_a_linear_head_are_not_applicable(scene: SolvedScene) -> None:
    with pytest.raises(NotApplicable, match="linearised: no single linear layer gives its logits"):
        scene.context.architecture.linear_head(network_of(scene))


def test_a_system_that_does_not_fit_is_refused_before_any_derivative(
    scene: SolvedScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, view = network_of(scene), scene.data.view("train")
    monkeypatch.setattr(available_memory, "available_memory", lambda: 2**20)
    with pytest.raises(NotEnoughMemoryError, match=r"over 458 weights, .* 0 GiB are free; lower model\.layers"):
        linearised.normal_equations(network, view, L2, scene.context)
    assert view.usage.counts()["reads"] == 0


def test_more_layers_than_there_are_is_not_applicable() -> None:
    config = FrozenHeadConfig(backbone=AllCNNConfig(width=4), classifier="linearised", layers=10)
    with pytest.raises(NotApplicable, match="the model has 9 weight layers, fewer than the last 10"):
        config.initial((1, 8, 8), 10, 0)


def test_the_first_forward_pass_of_a_process_warns_of_nothing() -> None:
    passed = (
        "import torch; from torch import nn; from unsir_bench.models.frozen_head import LinearisedNetwork; "
        "core = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)); "
        "print(LinearisedNetwork(core, ['1.weight'])(torch.ones(1, 1, 2, 2)).shape)"
    )
    command = [sys.executable, "-W", "error::FutureWarning", "-c", passed]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout == "torch.Size([1, 2])\n", done.stderr
