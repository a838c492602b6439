from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from unsir_bench.baselines.neggrad_plus import NegGradPlus, paired_batches

from tests.training.test_several_processes import step_of
from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData

MakeContext = Callable[..., RunContext]
FEW, MOST = (1, 2), (0, 1, 2, 4, 5, 6, 8, 9)


def split_of(digits: DeviceData, classes: tuple[int, ...]) -> ForgetSplit:
    return ForgetSplit.of(digits.labels("train"), digits.labels("test"), classes, digits.num_classes)


def numbered(digits: DeviceData, indices: Tensor) -> DataView:
    """A view in which each sample's target is its own index, so that batches show which samples they hold."""
    return digits.view("train", indices).relabelled(indices)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.logsumexp(dim=1) - logits.gather(1, labels[:, None])[:, 0]).mean()


@pytest.mark.parametrize("classes", [FEW, MOST], ids=["few", "most"])
@pytest.mark.parametrize("batch_size", [16, 32, 53])
def test_every_batch_is_half_and_half_and_an_epoch_is_a_pass_over_the_retain_samples(
    batch_size: int, classes: tuple[int, ...], digits: DeviceData, make_context: MakeContext
) -> None:
    split = split_of(digits, classes)
    retain, forget = numbered(digits, split.retain_train), numbered(digits, split.forget_train)
    batches = paired_batches(retain, forget, Recipe(batch_size=batch_size), make_context(forget_classes=classes))
    seen: Counter[int] = Counter()
    images_of = dict(zip(range(200), next(digits.view("train").batches(200))[0], strict=True))
    taken = list(batches.batches(0))
    assert len(taken) == batches.steps
    for images, indices in taken:
        assert 2 * int(torch.isin(indices, split.forget_train).sum()) == len(indices) == len(images)
        assert all(torch.equal(image, images_of[index]) for image, index in zip(images, indices.tolist(), strict=True))
        seen.update(indices.tolist())
    assert {seen[index] for index in split.retain_train.tolist()} == {1}
    rounds = [seen[index] for index in split.forget_train.tolist()]
    assert sum(rounds) == len(split.retain_train)
    assert max(rounds) - min(rounds) <= 1


def test_each_epoch_has_its_own_order_and_pairs(digits: DeviceData, make_context: MakeContext) -> None:
    split, recipe = split_of(digits, FEW), Recipe(batch_size=32, augment=Augmentation(crop_padding=1))
    retain, forget = numbered(digits, split.retain_train), numbered(digits, split.forget_train)

    def epoch(number: int) -> tuple[Tensor, Tensor]:
        batches = list(paired_batches(retain, forget, recipe, make_context()).batches(number))
        halves = [(indices[: len(indices) // 2], indices[len(indices) // 2 :]) for _, indices in batches]
        first, second = zip(*halves, strict=True)
        return torch.cat(first), torch.cat(second)

    (first, others), (again, others_again), (later, others_later) = epoch(0), epoch(0), epoch(1)
    assert torch.equal(first, again)
    assert torch.equal(others, others_again)
    assert not torch.equal(first, later)
    assert not torch.equal(others, others_later)


@pytest.mark.parametrize("forwards", ["separate", "mixed"])
@pytest.mark.parametrize("alpha", [0.95, 0.4, 1.0])
def test_a_step_descends_the_papers_objective(
    alpha: float, forwards: str, digits: DeviceData, make_context: MakeContext
) -> None:
    split, context, rate = split_of(digits, FEW), make_context(forget_classes=FEW), 0.5
    model = context.initial_network()
    twin = copy.deepcopy(model).double().train()
    # One batch takes the 160 retain samples, and with them each of the 40 forget samples four times.
    [(retain, retain_labels)] = digits.view("train", split.retain_train).batches(160)
    [(forget, forget_labels)] = digits.view("train", split.forget_train).batches(40)
    pieces = [retain.double(), torch.cat([forget] * 4).double()]
    # As the official train_negrad, or both kinds in one batch of the normalisation.
    parts = [twin(piece) for piece in pieces] if forwards == "separate" else twin(torch.cat(pieces)).split(160)
    kept = cross_entropy(parts[0], retain_labels)
    forgotten = cross_entropy(parts[1], forget_labels.repeat(4))
    loss = alpha * kept - (1 - alpha) * forgotten
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    start = [parameter.detach().clone() for parameter in model.parameters()]
    recipe = Recipe(batch_size=160, optimizer="sgd", lr=rate, momentum=0)
    method = NegGradPlus(train=recipe, alpha=alpha, forwards=forwards)
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    [(_, _, values)] = context.log.points
    assert values["loss"] == pytest.approx(loss.item(), rel=1e-4)
    for parameter, before, gradient in zip(model.parameters(), start, gradients, strict=True):
        torch.testing.assert_close((parameter - before).double(), -rate * gradient, rtol=2e-3, atol=5e-6)
    for (name, buffer), expected in zip(model.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(buffer.double(), expected.double(), rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("forwards", ["separate", "mixed"])
@pytest.mark.parametrize("last", [1, 2, 3, 4, 5])
def test_two_processes_never_normalise_a_single_image_and_step_as_one(
    last: int, forwards: str, digits: DeviceData, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last batch of a pass over the retain samples may hold any number of them."""
    split, context, told = split_of(digits, FEW), make_context(forget_classes=FEW), []
    monkeypatch.setattr("unsir_bench.baselines.neggrad_plus.fit", lambda *_, variation: told.append(variation))
    method = NegGradPlus(forwards=forwards)
    method.unlearn(nn.Identity(), UnlearningData(digits, split, method, 0), context)
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(2 * last, 5, generator=draws).double()
    labels = torch.cat([torch.arange(last), torch.arange(last) + context.num_classes])
    seen: list[int] = []

    def step(rank: int, processes: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        model = nn.Linear(5, context.num_classes, bias=False).double()
        model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        return step_of(rank, model, images, labels, told[0], processes)

    whole_loss, whole_gradient = step(0, 1)
    seen.clear()
    shares = [step(rank, 2) for rank in (0, 1)]
    assert min(seen) >= 2 or (last == 1 and forwards == "separate")  # which a single device passes alone, too
    loss, gradient = (torch.stack(parts).mean(dim=0) for parts in zip(*shares, strict=True))
    torch.testing.assert_close(loss, whole_loss)
    torch.testing.assert_close(gradient, whole_gradient)
    if last >= 4:
        assert sum(seen) == 2 * last  # shared


def test_every_read_of_a_sample_is_booked_with_its_kind(digits: DeviceData, make_context: MakeContext) -> None:
    split, context = split_of(digits, FEW), make_context(forget_classes=FEW)
    method = NegGradPlus(train=Recipe(epochs=2, batch_size=64, optimizer="sgd"))
    data = UnlearningData(digits, split, method, 0)
    method.unlearn(context.initial_network(), data, context)
    assert data.access_counts() == {
        "retain": {"samples": 160, "reads": 320},
        "forget": {"samples": 40, "reads": 320},
    }
