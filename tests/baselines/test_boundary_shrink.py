from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from unsir_bench.baselines.boundary_shrink import BoundaryShrink, fast_gradient_sign, neighbour_labels

from tests.baselines.batches_seen import samples_of
from unsir_bench.data.batches import DataView, Normalisation, ResidentImages
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData


def pixels(images: Tensor, normalise: Normalisation) -> Tensor:
    """Normalised images in float64 on the scale from 0 to 1."""
    mean, std = (torch.tensor(values).double()[:, None, None] for values in (normalise.mean, normalise.std))
    return images.double() * std + mean


def brute_force(network: nn.Module, image: Tensor, label: int, epsilon: float, normalise: Normalisation) -> Tensor:
    """Pixels (1, channels, height, width) after the step, by the gradient with respect to the pixels themselves."""
    mean, std = (torch.tensor(values).double()[:, None, None] for values in (normalise.mean, normalise.std))
    start = pixels(image[None], normalise).requires_grad_()
    loss = -network((start - mean) / std).log_softmax(dim=1)[0, label]
    [gradient] = torch.autograd.grad(loss, [start])
    return (start + epsilon * gradient.sign()).clamp(0, 1).detach()


FORGET = (1, 2)
NORMALISATIONS = [Normalisation((0.2, 0.5, 0.7), (0.1, 0.2, 0.4)), Normalisation((0.4,), (0.25,))]


@pytest.mark.parametrize("normalise", NORMALISATIONS, ids=["by-channel", "one-for-all"])
@pytest.mark.parametrize("epsilon", [0.1, 0.02])
def test_the_step_is_of_epsilon_in_pixels_and_ends_within_their_range(
    epsilon: float, normalise: Normalisation, context: RunContext
) -> None:
    draws = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (12, 3, 8, 8), generator=draws).to(torch.uint8)
    labels = torch.arange(12) % 4
    view = DataView(ResidentImages(raw.numpy(), torch.device("cpu")), labels, torch.arange(12), normalise)
    [(images, _)] = view.batches(12)
    network = AllCNNConfig(width=4).initial((3, 8, 8), 4, seed=0).train()
    for _ in range(30):
        network(images)
    network.eval()
    moved = fast_gradient_sign(network, images, labels, epsilon, view, context)

    clean, reached = raw.double() / 255, pixels(moved, normalise)
    assert reached.min() >= -1e-6
    assert reached.max() <= 1 + 1e-6
    change = (reached - clean).abs()
    assert change.max() <= epsilon + 1e-6
    inside = (clean > epsilon) & (clean < 1 - epsilon)
    assert ((change - epsilon).abs() < 1e-6)[inside].float().mean() > 0.99
    assert (change < epsilon - 1e-3).any()  # some were stopped at black or white
    twin = copy.deepcopy(network).double()
    expected = torch.cat(
        [brute_force(twin, image, int(label), epsilon, normalise) for image, label in zip(images, labels, strict=True)]
    )
    # A gradient that is all but 0 may have either sign in float32.
    assert ((reached - expected).abs() < 1e-6).float().mean() > 0.995
    assert not images.requires_grad


def neighbours(
    model: nn.Module, view: DataView, epsilon: float, gone: tuple[int, ...] = FORGET
) -> tuple[Tensor, Tensor]:
    """By brute force, image by image in float64 and eval mode: each sample's nearest class after the step that is
    neither its own nor in ``gone``, and the class that the model sees there."""
    twin, normalise = copy.deepcopy(model).double().eval(), view.normalise
    mean, std = (torch.tensor(values).double()[:, None, None] for values in (normalise.mean, normalise.std))
    nearest, seen = [], []
    for [image], [label] in view.batches(1):
        perturbed = brute_force(twin, image, int(label), epsilon, normalise)
        scores = twin((perturbed - mean) / std)[0].tolist()
        nearest.append(max((score, index) for index, score in enumerate(scores) if index not in (int(label), *gone))[1])
        seen.append(scores.index(max(scores)))
    return torch.tensor(nearest), torch.tensor(seen)


@pytest.mark.parametrize("batch_size", [7, 64])
@pytest.mark.parametrize(
    ("mask", "earlier", "gone"),
    [("own_class", (5,), ()), ("forget_classes", (), FORGET), ("forget_classes", (5, 8), (*FORGET, 5, 8))],
)
def test_neighbours_are_the_likeliest_incorrect_classes_after_the_step_in_the_views_order(
    mask: str,
    earlier: tuple[int, ...],
    gone: tuple[int, ...],
    batch_size: int,
    model: nn.Module,
    digits: DeviceData,
    split: ForgetSplit,
    context: RunContext,
) -> None:
    context.forgotten_before = earlier
    view = digits.view("train", split.forget_train)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = neighbour_labels(model, view, 0.3, batch_size, context, mask)
    expected, seen = neighbours(model, view, 0.3, gone)
    assert torch.equal(found, expected)
    assert not (found == view.labels).any()
    assert not set(found.tolist()) & set(gone)
    # The step fails for some, which a prediction would leave in their own class.
    assert 0 < int((seen == view.labels).sum()) < len(view)
    own, _ = neighbours(model, view, 0.3, ())
    assert len(own.unique()) > 2
    assert bool((expected != own).any()) is bool(gone)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_without_a_mask_the_label_is_what_the_model_sees_after_the_step(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    view = digits.view("train", split.forget_train)
    _, seen = neighbours(model, view, 0.3)
    assert torch.equal(neighbour_labels(model, view, 0.3, 64, context, "none"), seen)
    assert (seen == view.labels).any()


def test_the_network_is_taught_the_originals_neighbour_classes_in_every_epoch(
    model: nn.Module,
    digits: DeviceData,
    split: ForgetSplit,
    context: RunContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = digits.view("train", split.forget_train)
    wanted, _ = neighbours(model, view, 0.3)
    [(everything, _)] = view.batches(40)
    taught: list[tuple[Tensor, Tensor]] = []
    shown: list[Tensor] = []
    computed = F.cross_entropy

    def note_images(network: nn.Module, arguments: tuple[Tensor]) -> None:
        shown.append(samples_of(arguments[0], everything))

    def noting(logits: Tensor, targets: Tensor, *rest: Any, **options: Any) -> Tensor:
        if model.training:
            taught.append((shown[-1], targets))
        return computed(logits, targets, *rest, **options)

    model.register_forward_pre_hook(note_images)
    monkeypatch.setattr(F, "cross_entropy", noting)
    # Steps so large that labels drawn from the trained network would differ.
    method = BoundaryShrink(train=Recipe(epochs=3, batch_size=16, optimizer="sgd", lr=0.1), epsilon=0.3)
    data = UnlearningData(digits, split, method, 0)
    method.unlearn(model, data, context)
    samples, targets = (torch.cat(column) for column in zip(*taught, strict=True))
    for epoch, given in zip(samples.split(40), targets.split(40), strict=True):
        assert torch.equal(epoch.sort().values, torch.arange(40))
        assert torch.equal(given, wanted[epoch])
    assert len(samples) == 3 * 40
    assert data.access_counts()["forget"] == {"samples": 40, "reads": 4 * 40}
