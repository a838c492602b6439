from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from unsir_bench.baselines.random_label import RandomLabel

from tests.baselines.batches_seen import noted_targets, samples_of
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData

MakeContext = Callable[..., RunContext]
FORGET = (1, 2)
EPOCHS = 4


@pytest.fixture
def lessons(
    digits: DeviceData, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], list[Tensor]]:
    """Run the method and tell, epoch by epoch, which target the loss had for each sample, in the split's order."""
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), FORGET, digits.num_classes)
    everything = next(digits.view("train").batches(200))[0]
    shown: list[Tensor] = []

    def note_images(_: nn.Module, arguments: tuple[Tensor]) -> None:
        shown.append(samples_of(arguments[0], everything))

    def run(source: str) -> list[Tensor]:
        context = make_context(forget_classes=FORGET)
        model = context.initial_network()
        model.register_forward_pre_hook(note_images)
        method = RandomLabel(train=Recipe(epochs=EPOCHS, batch_size=64, optimizer="sgd", lr=0.01), labels_from=source)
        with monkeypatch.context() as patch:
            wanted = noted_targets(patch)
            method.unlearn(model, UnlearningData(digits, split, method, 0), context)
        samples, targets = torch.cat(shown).view(EPOCHS, 200), torch.cat(wanted).view(EPOCHS, 200)
        assert all(torch.equal(epoch.sort().values, torch.arange(200)) for epoch in samples)
        return [epoch_targets[order.argsort()] for order, epoch_targets in zip(samples, targets, strict=True)]

    return run


@pytest.mark.parametrize("source", ["retained", "others", "all"])
def test_the_loss_sees_true_labels_of_retain_samples_and_new_wrong_ones_of_forget_samples_in_each_epoch(
    source: str, lessons: Callable[[str], list[Tensor]], digits: DeviceData
) -> None:
    truth = digits.labels("train")
    forgotten = torch.isin(truth, torch.tensor(FORGET))
    epochs = lessons(source)
    for given in epochs:
        assert torch.equal(given[~forgotten], truth[~forgotten])
    drawn = torch.stack([given[forgotten] for given in epochs])
    assert len(drawn.unique(dim=0)) == EPOCHS
    # 160 draws: each of the 10 classes is missed with a chance of 1e-7 where it is allowed.
    own, any_forgotten = drawn == truth[forgotten], torch.isin(drawn, torch.tensor(FORGET))
    assert bool(own.any()) is (source == "all")
    assert bool(any_forgotten.any()) is (source != "retained")
