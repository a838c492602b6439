from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from unsir_bench.baselines.scrub import Scrub

from tests.baselines.batches_seen import samples_of
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData


@pytest.mark.parametrize(
    ("epochs", "max_epochs", "forget_batch_size"), [(3, 2, None), (2, 0, None), (2, 5, None), (3, 2, 16)]
)
def test_the_first_epochs_begin_with_the_forget_samples_and_no_batch_mixes_kinds(
    epochs: int,
    max_epochs: int,
    forget_batch_size: int | None,
    model: nn.Module,
    digits: DeviceData,
    split: ForgetSplit,
    context: RunContext,
) -> None:
    everything = next(digits.view("train").batches(200))[0]
    batches: list[list[int]] = []

    def note(network: nn.Module, arguments: tuple[Tensor]) -> None:
        if network.training:  # the teacher, a copy, has the hook too
            batches.append(samples_of(arguments[0], everything).tolist())

    model.register_forward_pre_hook(note)
    recipe = Recipe(epochs=epochs, batch_size=32, lr=1e-4)
    method = Scrub(train=recipe, max_epochs=max_epochs, forget_batch_size=forget_batch_size)
    data = UnlearningData(digits, split, method, 0)
    method.unlearn(model, data, context)

    retain, forget = split.retain_train.tolist(), split.forget_train.tolist()
    of_forget = [16, 16, 8] if forget_batch_size else [32, 8]
    for epoch in range(epochs):
        for wanted, sizes in ((forget, of_forget), (retain, [32] * 5)):
            if wanted is forget and epoch >= max_epochs:
                continue
            taken = [batches.pop(0) for _ in sizes]
            assert [len(batch) for batch in taken] == sizes
            assert sorted(index for batch in taken for index in batch) == wanted
    assert batches == []
    passes = min(epochs, max_epochs)
    assert data.access_counts()["forget"] == {"samples": 40 if passes else 0, "reads": 40 * passes}


def divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T² · mean KL(teacher ‖ student) at temperature T."""
    wanted = torch.exp(teacher / temperature) / torch.exp(teacher / temperature).sum(dim=1, keepdim=True)
    given = torch.exp(student / temperature) / torch.exp(student / temperature).sum(dim=1, keepdim=True)
    return temperature**2 * (wanted * (wanted / given).log()).sum(dim=1).mean()


@pytest.mark.parametrize(
    ("temperature", "ce_weight", "kl_weight"), [(2.0, 1.0, 0.5), (1.0, 0.3, 2.0), (4.0, 0.0, 1.0), (2.0, 1.0, 0.0)]
)
def test_steps_go_away_from_the_teacher_on_forget_samples_and_towards_it_and_the_truth_on_retain_samples(
    temperature: float,
    ce_weight: float,
    kl_weight: float,
    model: nn.Module,
    digits: DeviceData,
    split: ForgetSplit,
    context: RunContext,
) -> None:
    rate = 0.1
    teacher, student = copy.deepcopy(model).double().eval(), copy.deepcopy(model).double().train()
    losses = []
    for kind, indices in (("forget", split.forget_train), ("retain", split.retain_train)):
        [(images, labels)] = digits.view("train", indices).batches(160)
        logits = student(images.double())
        loss = divergence(teacher(images.double()).detach(), logits, temperature)
        if kind == "forget":
            loss = -loss
        else:
            truth = (logits.logsumexp(dim=1) - logits.gather(1, labels[:, None])[:, 0]).mean()
            loss = ce_weight * truth + kl_weight * loss
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(student.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(student.parameters(), gradients, strict=True):
                parameter.sub_(rate * gradient)
    start = copy.deepcopy(model)
    method = Scrub(
        train=Recipe(epochs=1, batch_size=160, optimizer="sgd", lr=rate, momentum=0),
        max_epochs=1, temperature=temperature, ce_weight=ce_weight, kl_weight=kl_weight,
    )  # fmt: skip
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    assert losses[0] < -0.01
    assert [values["loss"] for _, _, values in context.log.points] == pytest.approx(losses, rel=1e-3)
    for after, expected, before in zip(model.parameters(), student.parameters(), start.parameters(), strict=True):
        moved, wanted = (after - before).double().detach(), (expected - before).detach()
        torch.testing.assert_close(moved, wanted, rtol=5e-3, atol=1e-3 * float(wanted.abs().max()) + 1e-6)


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
@pytest.mark.parametrize("max_epochs", [0, 3])
def test_the_schedule_spans_the_steps_that_are_taken(
    schedule: str, max_epochs: int, digits: DeviceData, make_context: Callable[..., RunContext]
) -> None:
    # Two passes apart take more batches than one over the same samples together.
    recipe = Recipe(epochs=3, batch_size=25, schedule=schedule, optimizer="sgd", lr=0.01)
    method = Scrub(train=recipe, max_epochs=max_epochs)
    context = make_context(forget_classes=(1, 2))
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), (1, 2), digits.num_classes)
    data = UnlearningData(digits, split, method, 0)
    method.unlearn(context.initial_network(), data, context)
    taken = context.steps["train"]
    assert method._alternating_passes(data, context).steps_in(3) == taken
