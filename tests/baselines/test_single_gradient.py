"""Single-gradient unlearning against SGD itself where the unrolling is exact: one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from unsir_bench.baselines.single_gradient import SingleGradient

from unsir_bench import compose
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import NotApplicable
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.model import ImageShape, ModelConfig
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import UnlearningData


@dataclass
class Softmax(ModelConfig):
    """Softmax regression: no sample's gradient depends on another sample."""

    name: str = "softmax"

    def build(self, image_shape: ImageShape, num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

    def head(self, model: nn.Module) -> nn.Module:
        return model.get_submodule("1")


def test_after_one_step_it_is_what_the_step_without_the_forget_samples_gives(
    digits: DeviceData, split: ForgetSplit, make_context: Callable[..., RunContext]
) -> None:
    context = make_context(Softmax(), forget_classes=(1, 2))
    everything, rate = digits.view("train"), 0.5

    def stepped(indices: torch.Tensor | None) -> nn.Module:
        """One step of SGD on some samples, the loss summed and divided by the number of all."""
        network = context.initial_network()
        images, labels = next(digits.view("train", indices).batches(len(everything)))
        optimizer = torch.optim.SGD(network.parameters(), lr=rate)
        (F.cross_entropy(network(images), labels, reduction="sum") / len(everything)).backward()
        optimizer.step()
        return network

    method = SingleGradient(lr=rate, batch_size=len(everything), epochs=1)
    original = stepped(None)
    without = stepped(split.retain_train)
    assert not torch.allclose(original.get_parameter("1.weight"), without.get_parameter("1.weight"))
    model = method.unlearn(original, UnlearningData(digits, split, method, 0), context)
    for name, value in without.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), value, rtol=1e-5, atol=1e-6, msg=name)


def test_rate_epochs_batch_and_momentum_weigh_the_gradient_as_sgd_does(
    digits: DeviceData, split: ForgetSplit, make_context: Callable[..., RunContext]
) -> None:
    """A gradient g seen E times in batches of b moves SGD by E η g / b; momentum counts each 1 / (1 - μ) times."""
    context = make_context(Softmax(), forget_classes=(1, 2))
    initial = context.initial_network()
    method = SingleGradient(lr=0.3, momentum=0.5, batch_size=8, epochs=3)
    data = UnlearningData(digits, split, method, 0)
    model = method.unlearn(context.initial_network(), data, context)
    image, label = next(data.forget.uncounted().batches(len(data.forget)))
    total = torch.zeros(10, 64, dtype=torch.float64)
    for one, its in zip(image.flatten(1).double(), label, strict=True):
        logits = initial.get_parameter("1.weight").double() @ one + initial.get_parameter("1.bias").double()
        lacking = logits.softmax(dim=0) - F.one_hot(its, 10)
        total += torch.outer(lacking, one).detach()
    wanted = 3 * 0.3 / 8 / 0.5 * total
    moved = model.get_parameter("1.weight").double() - initial.get_parameter("1.weight").double()
    torch.testing.assert_close(moved, wanted, rtol=1e-4, atol=1e-5)
    assert data.access_counts()["forget"]["reads"] == len(split.forget_train)


def test_a_backbone_that_was_trained_at_a_tenth_of_the_rate_gets_back_a_tenth(
    digits: DeviceData, split: ForgetSplit, make_context: Callable[..., RunContext]
) -> None:
    def moved(scale: float, of_recipe: float | None = None) -> dict[str, torch.Tensor]:
        context = make_context(AllCNNConfig(width=4, backbone_lr_scale=scale), forget_classes=(1, 2))
        method = SingleGradient(lr=0.3, batch_size=8, backbone_lr_scale=of_recipe)
        before = dict(context.initial_network().named_parameters())
        after = method.unlearn(context.initial_network(), UnlearningData(digits, split, method, 0), context)
        return {name: (value - before[name]).detach() for name, value in after.named_parameters()}

    whole, scaled = moved(1.0), moved(0.1)
    for name, change in whole.items():
        part = 1.0 if name.startswith("head.") else 0.1
        torch.testing.assert_close(scaled[name], part * change, rtol=1e-3, atol=1e-5, msg=name)
    # The recipe's share, where it has one, stands in place of the model's, as in training.
    for name, change in moved(1.0, of_recipe=0.1).items():
        torch.testing.assert_close(change, scaled[name], rtol=1e-3, atol=1e-5, msg=name)


def test_the_loss_is_smoothed_as_in_training(
    digits: DeviceData, split: ForgetSplit, make_context: Callable[..., RunContext]
) -> None:
    context = make_context(Softmax(), forget_classes=(1, 2))
    before = context.initial_network()
    method = SingleGradient(lr=1.0, batch_size=1, label_smoothing=0.2)
    data = UnlearningData(digits, split, method, 0)
    model = method.unlearn(context.initial_network(), data, context)
    images, labels = next(data.forget.uncounted().batches(len(data.forget)))
    targets = 0.8 * F.one_hot(labels, 10) + 0.02
    lacking = (before(images).softmax(dim=1) - targets).double()
    moved = (model.get_parameter("1.bias") - before.get_parameter("1.bias")).double()
    torch.testing.assert_close(moved, lacking.sum(dim=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("trained", "reason"),
    [
        ({"optimizer": "adam"}, r"train\.optimizer is adam"),
        ({"clip_value": 0.1}, r"train\.clip_value is 0\.1"),
        ({"clip_norm": 5.0}, r"train\.clip_norm is 5\.0"),
        ({"noise_multiplier": 1.0}, r"training is private \(train\.privacy\)"),
    ],
)
def test_an_original_that_was_not_trained_by_plain_sgd_is_refused(
    trained: dict[str, Any], reason: str, digits: DeviceData, split: ForgetSplit, context: RunContext, model: nn.Module
) -> None:
    method = SingleGradient(**trained)
    data = UnlearningData(digits, split, method, 0)
    with pytest.raises(NotApplicable, match="unrolls plain SGD; the original's " + reason):
        method.unlearn(model, data, context)
    assert data.access_counts()["forget"]["reads"] == 0


def test_the_preset_takes_over_how_the_original_was_trained() -> None:
    words = ["train=dp_sgd", "train.backbone_lr_scale=0.2", "train.clip_norm=3", "train.privacy.noise_multiplier=0.7"]
    method = compose(["method=single_gradient", *words]).method
    assert isinstance(method, SingleGradient)
    assert (method.backbone_lr_scale, method.clip_value, method.clip_norm) == (0.2, None, 3.0)
    assert method.noise_multiplier == 0.7
