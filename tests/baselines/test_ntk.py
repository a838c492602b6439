"""NTK forgetting against least squares on Jacobians computed one logit at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from unsir_bench.baselines import ntk
from unsir_bench.baselines.ntk import NTK

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import NotEnoughMemoryError
from unsir_bench.models.last_layers import parameters_of_last_layers
from unsir_bench.runtime import available_memory
from unsir_bench.training.context import RunContext
from unsir_bench.training.linearised import in_float64, linear_rows
from unsir_bench.unlearning.method import UnlearningData

LAMBDA = 0.01


def rows_of(model: nn.Module, names: list[str], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Jacobian and softmax - y, one row for each sample and class, by one backward pass for each."""
    parameters = [model.get_parameter(name) for name in names]
    jacobian, lacking = [], []
    for image, label in zip(images, labels, strict=True):
        logits = model(image[None])[0]
        shares = logits.softmax(dim=0)
        for index, logit in enumerate(logits):
            gradients = torch.autograd.grad(logit, parameters, retain_graph=True)
            jacobian.append(torch.cat([gradient.flatten() for gradient in gradients]))
            lacking.append(shares[index].detach() - (1.0 if index == label else 0.0))
    return torch.stack(jacobian), torch.stack(lacking)


def ridge_by_least_squares(jacobian: Tensor, lacking: Tensor, ridge: float) -> Tensor:
    """The minimum of ‖J w + lacking‖² + ridge ‖w‖² as a least-squares problem of stacked rows."""
    shift = ridge**0.5 * torch.eye(jacobian.shape[1], dtype=torch.float64)
    rows = torch.cat([jacobian, shift])
    targets = torch.cat([-lacking, torch.zeros(jacobian.shape[1], dtype=torch.float64)])
    return torch.linalg.lstsq(rows, targets[:, None], driver="gelsd").solution[:, 0]


@pytest.mark.parametrize(("layers", "kept"), [(1, 200), (2, 200), (3, 4)])
def test_the_change_is_the_difference_of_two_ridge_regressions(
    layers: int,
    kept: int,
    model: nn.Module,
    digits: DeviceData,
    split: ForgetSplit,
    context: RunContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = NTK(layers=layers, weight_decay=LAMBDA, scale=0.7, batch_size=32)
    data = UnlearningData(digits, split, method, 0)
    data._views = {kind: view.narrowed(torch.arange(min(kept, len(view)))) for kind, view in data._views.items()}
    model.eval()
    names = parameters_of_last_layers(model, layers)
    twin = in_float64(model)
    parts = []
    for view in (data.retain, data.forget):
        images, labels = next(view.uncounted().batches(len(view)))
        parts.append(rows_of(twin, names, images.double(), labels))
    jacobian, lacking = (torch.cat(both) for both in zip(*parts, strict=True))
    assert (jacobian.shape[0] < jacobian.shape[1]) is (layers == 3), "both forms of the system are tried"
    retained, samples = len(data.retain), len(data.retain) + len(data.forget)
    expected = 0.7 * (
        ridge_by_least_squares(*parts[0], LAMBDA * retained)
        - ridge_by_least_squares(jacobian, lacking, LAMBDA * samples)
    )
    moved: list[Tensor] = []
    monkeypatch.setattr(ntk, "add_to", lambda network, names, change: moved.append(change))
    method.unlearn(model, data, context)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(moved[0], expected, rtol=1e-7, atol=1e-10)


def test_only_the_last_layers_move(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    NTK(layers=2).unlearn(model, UnlearningData(digits, split, NTK(), 0), context)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"features.7.0.weight", "features.7.1.weight", "features.7.1.bias", "head.weight", "head.bias"}


def test_jacobians_predict_what_a_small_step_does(model: nn.Module, digits: DeviceData, context: RunContext) -> None:
    names = [name for name, _ in model.named_parameters()]
    view = digits.view("train", torch.arange(6))
    twin = in_float64(model)
    (jacobian, logits, labels), *others = linear_rows(twin, names, view, 6, context)
    assert not others
    assert torch.equal(labels, view.labels)
    draws = torch.Generator().manual_seed(3)
    step = 1e-6 * torch.randn(jacobian.shape[2], dtype=torch.float64, generator=draws)
    with torch.no_grad():
        nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(twin.parameters()) + step, twin.parameters())
        after = twin(next(view.batches(6))[0].double())
    torch.testing.assert_close(after - logits, jacobian @ step, rtol=1e-3, atol=1e-8)


def test_a_system_that_does_not_fit_is_refused_before_any_jacobian(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(available_memory, "available_memory", lambda: 2**20)
    data = UnlearningData(digits, split, NTK(), 0)
    message = r"ntk, for a system over .* weights or 2000 samples and classes, would need .*method\.layers"
    with pytest.raises(NotEnoughMemoryError, match=message):
        NTK(layers=None).unlearn(model, data, context)
    assert data.access_counts()["retain"]["reads"] == 0
