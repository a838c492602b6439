from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from unsir_bench.baselines.sfron import Progress, SFRon, adaptive

from tests.baselines.solved_scene import solved_scene
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.inference import predict
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData


def test_random_samples_are_forgotten_and_others_of_their_classes_are_not(
    model: nn.Module, digits: DeviceData, make_context: Callable[..., RunContext]
) -> None:
    sizes = {split: len(digits.labels(split)) for split in ("train", "test")}
    drawn = torch.arange(0, sizes["train"], 10)
    split = ForgetSplit.of_samples({"train": drawn, "test": drawn[:0]}, sizes, digits.num_classes)
    method = SFRon(train=Recipe(epochs=20, batch_size=32, optimizer="sgd", lr=0.003), ascent=5.0)
    data, context = UnlearningData(digits, split, method, 0), make_context(forget_classes=())

    def losses() -> list[float]:
        loss = torch.nn.CrossEntropyLoss()
        return [
            loss(predict(model, view.uncounted(), context, "losses"), view.labels).item()
            for view in (data.forget, data.retain)
        ]

    before = losses()
    method.unlearn(model, data, context)
    of_forget, of_retain = (after / start for after, start in zip(losses(), before, strict=True))
    assert of_forget > 3 * of_retain


def test_weights_of_losses_by_hand() -> None:
    losses = torch.tensor([1.0, 4.0], requires_grad=True)
    mean = adaptive(losses, 0.5)
    assert mean.item() == pytest.approx((1 * 1 + 0.5 * 4) / 1.5)
    mean.backward()
    assert losses.grad is not None
    assert losses.grad.tolist() == pytest.approx([1 / 1.5, 0.5 / 1.5])  # the weights are no part of the gradient
    assert adaptive(losses, 0.0).item() == pytest.approx(2.5)


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_a_forget_batch_comes_before_every_nth_retain_batch_and_passes_over_them_go_on(
    every: int, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    method = SFRon(train=Recipe(epochs=3, batch_size=32, optimizer="sgd", lr=1e-3), forget_every=every)
    data = UnlearningData(digits, split, method, 0)
    progress = Progress()
    batches = method._alternating(data, context, progress)
    seen, shares, forgotten = [], [], []
    for epoch in range(3):
        for images, labels in batches.batches(epoch):
            kinds = (labels >= context.num_classes).unique().tolist()
            assert len(kinds) == 1
            seen.append(kinds[0])
            shares.append(progress.share)
            if kinds[0]:
                forgotten += [tuple(image.flatten().tolist()) for image in images]
    wanted = [kind for step in range(15) for kind in ([True, False] if step % every == 0 else [False])]
    assert seen == wanted
    assert batches.steps_in(3) == len(wanted)
    assert shares == [step / 15 for step in range(15) for _ in range(2 if step % every == 0 else 1)]
    assert data.access_counts()["forget"]["reads"] == len(forgotten)
    # Of 40 forget samples in batches of 32 and 8, each whole pass holds every one once.
    whole = len(forgotten) // 40 * 40
    for start in range(0, whole, 40):
        assert len(set(forgotten[start : start + 40])) == 40


def test_an_epoch_within_a_pass_over_the_forget_samples_seeds_dropout_as_the_pass_did(
    digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    method = SFRon(train=Recipe(epochs=3, batch_size=32, optimizer="sgd", lr=1e-3), forget_every=7)
    batches = method._alternating(UnlearningData(digits, split, method, 0), context, Progress())
    seeds = []
    for epoch in range(3):  # one forget batch in each; a pass has two
        for _, labels in batches.batches(epoch):
            seeds += [torch.initial_seed()] if labels[0] >= context.num_classes else []
    assert seeds[0] == seeds[1] != seeds[2]


def test_on_a_solved_head_the_head_alone_has_masks(
    digits: DeviceData, tmp_path: Path, make_context: Callable[..., RunContext]
) -> None:
    scene = solved_scene(digits, tmp_path, make_context)
    method, model = SFRon(train=Recipe(epochs=1, batch_size=32, optimizer="sgd", lr=0.01)), scene.original
    trained = scene.context.architecture.trained_parameters(model)
    masks = method._salient(model, UnlearningData(digits, scene.split, method, 0), trained, scene.context)
    assert [mask.shape for mask in masks] == [model.get_parameter(f"head.{name}").shape for name in ("weight", "bias")]
