"""UNSIR's noise: the paper's objective and its descent, the network it leaves alone, and its beginning."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.unlearning.conftest import SHAPE, initial
from unsir_bench.errors import Diverged
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning import unsir
from unsir_bench.unlearning.unsir import NoiseConfig, keep_noise, learn_noise

MakeContext = Callable[..., RunContext]
SMALL = NoiseConfig(batch_size=4, steps=3)


def blind(network: nn.Module) -> nn.Module:
    """The same network with all weights 0: its logits do not depend on the image."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return network


def objective(network: nn.Module, noise: Tensor, classes: tuple[int, ...], weight: float) -> Tensor:
    """The sum over classes of −CE(f(N), c) + λ · mean Σ N², image by image in float64."""
    total = torch.zeros((), dtype=torch.float64)
    for batch, label in zip(noise, classes, strict=True):
        for image in batch:
            logits = network(image[None])[0]
            cross_entropy = torch.log(torch.exp(logits).sum()) - logits[label]
            total = total + (-cross_entropy + weight * (image**2).sum()) / len(batch)
    return total


def gradient(network: nn.Module, noise: Tensor, classes: tuple[int, ...], weight: float) -> Tensor:
    at = noise.clone().requires_grad_()
    return torch.autograd.grad(objective(network, at, classes, weight), at)[0]


@pytest.fixture
def plain_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of exactly the gradient, so that it can be read off the noise."""
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr: torch.optim.SGD(parameters, lr=1.0))


@pytest.mark.usefixtures("plain_descent")
@pytest.mark.parametrize("classes", [(3,), (0, 2), (1, 4, 9)])
@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_the_gradient_is_the_papers_objectives(
    classes: tuple[int, ...], weight: float, model: nn.Module, make_context: MakeContext
) -> None:
    context = make_context(forget_classes=classes)
    config = NoiseConfig(batch_size=4, steps=1, weight_penalty=weight)
    start, after = initial(model, config, context), learn_noise(model, config, context)
    oracle = copy.deepcopy(model).double()
    expected = gradient(oracle, start.double(), classes, weight)
    assert expected.abs().mean() > 1e-3
    torch.testing.assert_close((start - after).double(), expected, rtol=1e-3, atol=2e-6)
    # The curve shows the mean over classes, as the notebook prints it.
    [(phase, step, values)] = context.log.points
    assert (phase, step) == ("noise", 1)
    mean = objective(oracle, start.double(), classes, weight).item() / len(classes)
    assert values["loss"] == pytest.approx(mean, rel=1e-5)


def test_noise_descends_by_adam(model: nn.Module, make_context: MakeContext) -> None:
    classes, context = (2, 5), make_context(forget_classes=(2, 5))
    config = NoiseConfig(batch_size=3, steps=4, lr=0.05)
    oracle, expected = copy.deepcopy(model).double(), initial(model, config, context).double()
    first, second = torch.zeros_like(expected), torch.zeros_like(expected)
    for step in range(1, 5):
        slope = gradient(oracle, expected, classes, config.weight_penalty)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        expected = expected - 0.05 * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    torch.testing.assert_close(learn_noise(model, config, context).double(), expected, rtol=0, atol=1e-4)


def test_kept_noise_is_the_first_learned_images_beside_their_start(model: nn.Module, make_context: MakeContext) -> None:
    context = make_context(forget_classes=(2, 5))
    config = NoiseConfig(batch_size=4, steps=3, kept=2)
    learned, start = learn_noise(model, config, context), initial(model, config, context)
    assert context.kept == {}
    keep_noise(learned, config, context)
    kept = context.kept["noise"]
    assert torch.equal(kept["learned"], learned[:, :2].flatten(0, 1))
    assert torch.equal(kept["initial"], start[:, :2].flatten(0, 1))
    assert kept["classes"].tolist() == [2, 2, 5, 5] and kept["images"].tolist() == [0, 1, 0, 1]
    learned.zero_()
    assert kept["learned"].abs().max() > 0, "what is kept is a copy"
    assert context.of_another_seed(1).kept == {}


@pytest.mark.parametrize("weight", [0.1, 2.0])
def test_before_a_blind_network_only_the_penalty_acts(
    weight: float, model: nn.Module, make_context: MakeContext
) -> None:
    context = make_context(forget_classes=(0, 7))
    config = NoiseConfig(batch_size=5, steps=1, weight_penalty=weight, lr=0.1)
    start = initial(model, config, context)
    after = learn_noise(blind(model), config, context)
    # Adam's first step has the length of its rate, here toward 0 in every pixel.
    torch.testing.assert_close(after, start - 0.1 * start.sign(), rtol=0, atol=1e-4)
    energy = start.double().square().sum().item() / (2 * 5)
    assert context.log.points[0][2]["loss"] == pytest.approx(-np.log(10) + weight * energy, rel=1e-5)


def test_without_penalty_a_blind_network_leaves_the_noise_alone(model: nn.Module, make_context: MakeContext) -> None:
    context, config = make_context(), NoiseConfig(batch_size=3, steps=5, weight_penalty=0.0)
    after = learn_noise(blind(model), config, context)
    assert torch.equal(after, initial(model, config, context))


def test_learning_raises_the_error_on_the_class_itself(model: nn.Module, make_context: MakeContext) -> None:
    context, config = make_context(forget_classes=(6,)), NoiseConfig(batch_size=16, steps=20, weight_penalty=0.0)

    def chance(noise: Tensor) -> float:
        return model(noise[0]).softmax(1)[:, 6].mean().item()

    assert chance(learn_noise(model, config, context)) < chance(initial(model, config, context)) / 2


@pytest.mark.parametrize("batchnorm", ["eval", "train"])
def test_classes_learned_together_are_as_learned_alone(
    batchnorm: str, model: nn.Module, make_context: MakeContext
) -> None:
    learned = {
        together: learn_noise(
            copy.deepcopy(model),
            NoiseConfig(batch_size=4, steps=5, batchnorm=batchnorm, classes_together=together),
            make_context(forget_classes=(0, 2, 9)),
        )
        for together in (True, False)
    }
    torch.testing.assert_close(learned[True], learned[False], rtol=0, atol=1e-3)


@pytest.mark.usefixtures("plain_descent")
@pytest.mark.parametrize("images", [1, 8, 11])
def test_passing_images_in_pieces_changes_nothing(
    images: int, model: nn.Module, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(forget_classes=(0, 2, 9))
    whole = learn_noise(model, SMALL, context)
    monkeypatch.setattr(unsir, "FORWARD_IMAGES", images)
    torch.testing.assert_close(learn_noise(model, SMALL, context), whole, rtol=1e-4, atol=1e-6)


CLASS_BYTES = 5 * 4 * 4 * 64  # of five float32 tensors of four 8 x 8 images


@pytest.mark.parametrize(("images", "memory", "at_once"), [(4, 1, 1), (4, 2, 2), (8, 3, 2), (8, 0, 1), (16, 4, 4)])
def test_classes_learned_in_parts_for_memory_are_as_learned_at_once(
    images: int, memory: int, at_once: int, model: nn.Module, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class Adam(torch.optim.Adam):
        def __init__(self, parameters: list[Tensor], lr: float) -> None:
            sizes.append(len(parameters[0]))
            super().__init__(parameters, lr)

    monkeypatch.setattr(torch.optim, "Adam", Adam)
    monkeypatch.setattr(unsir, "FORWARD_IMAGES", images)
    whole, parts = (make_context(forget_classes=(0, 2, 4, 7, 9)) for _ in range(2))
    expected = learn_noise(model, SMALL, whole)
    assert sizes == [5]
    monkeypatch.setattr(unsir, "NOISE_BYTES", memory * CLASS_BYTES)
    found = learn_noise(model, SMALL, parts)
    assert max(sizes[1:]) == at_once and sum(sizes[1:]) == 5
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert parts.steps == whole.steps == {"noise": SMALL.steps}
    assert [point[:2] for point in parts.log.points] == [("noise", step) for step in (1, 2, 3)]
    for (_, _, values), (_, _, others) in zip(parts.log.points, whole.log.points, strict=True):
        assert values["loss"] == pytest.approx(others["loss"], rel=1e-5)


def test_with_batch_statistics_memory_splits_nothing_since_the_order_of_classes_counts(
    model: nn.Module, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, other = NoiseConfig(batch_size=4, steps=3, batchnorm="train"), copy.deepcopy(model)
    learn_noise(model, config, make_context(forget_classes=(0, 2)))
    monkeypatch.setattr(unsir, "NOISE_BYTES", 1)
    learn_noise(other, config, make_context(forget_classes=(0, 2)))
    assert all(torch.equal(value, other.get_buffer(name)) for name, value in model.named_buffers())


@pytest.mark.parametrize(
    ("batch_size", "pixels", "classes", "largest"),
    [(256, 32, 2, 512), (256, 64, 2, 512), (64, 32, 8, 512), (256, 224, 1, 256), (64, 224, 3, 222), (1, 224, 222, 222)],
)
def test_a_pass_holds_fewer_images_where_they_are_large(
    batch_size: int, pixels: int, classes: int, largest: int
) -> None:
    config = NoiseConfig(batch_size=batch_size)
    assert unsir._classes_per_pass(config, (3, pixels, pixels)) == classes
    assert batch_size * classes <= largest  # 222 images of 3 x 224 x 224 float32 numbers are 127.5 MiB


@pytest.mark.parametrize(
    ("classes", "pixels", "at_once"),
    [(40, 32, 40), (10, 64, 10), (40, 64, 34), (2, 224, 2), (20, 224, 2), (40, 224, 2), (1, 1000, 1)],
)
def test_noise_of_the_papers_size_is_learned_in_two_gibibytes(classes: int, pixels: int, at_once: int) -> None:
    found = unsir._classes_at_once(classes, NoiseConfig(batch_size=256), (3, pixels, pixels))
    assert found == at_once
    assert found == 1 or found * 256 * 3 * pixels**2 * 4 * 5 <= 2 * 2**30


@pytest.mark.parametrize(
    ("together", "classes", "steps"), [(True, (4,), 3), (True, (0, 2), 3), (False, (0, 2), 6), (False, (0, 1, 2), 9)]
)
def test_steps_are_counted_and_only_separate_learning_multiplies_them(
    together: bool, classes: tuple[int, ...], steps: int, model: nn.Module, make_context: MakeContext
) -> None:
    context = make_context(forget_classes=classes)
    noise = learn_noise(model, NoiseConfig(batch_size=2, steps=3, classes_together=together), context)
    assert noise.shape == (len(classes), 2, *SHAPE)
    assert context.steps == {"noise": steps}
    assert [step for _, step, _ in context.log.points] == list(range(1, steps + 1))


@pytest.mark.parametrize("batchnorm", ["eval", "train"])
@pytest.mark.parametrize("was_training", [True, False])
def test_learning_noise_leaves_parameters_and_mode_as_they_were(
    batchnorm: str, was_training: bool, model: nn.Module, make_context: MakeContext
) -> None:
    model.train(was_training)
    fixed = next(iter(model.parameters())).requires_grad_(False)
    before = copy.deepcopy(dict(model.named_parameters()))
    learn_noise(model, NoiseConfig(batch_size=4, steps=3, batchnorm=batchnorm), make_context())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name
        assert parameter.grad is None, name
        assert parameter.requires_grad is (parameter is not fixed), name
    assert all(module.training is was_training for module in model.modules())


def buffers_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.named_buffers()}


def test_in_eval_mode_running_statistics_stay_bit_identical(model: nn.Module, make_context: MakeContext) -> None:
    before = buffers_of(model)
    learn_noise(model, SMALL, make_context())
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_in_train_mode_running_statistics_drift_at_each_step_of_each_class(
    model: nn.Module, make_context: MakeContext
) -> None:
    before = buffers_of(model)
    learn_noise(model, NoiseConfig(batch_size=4, steps=3, batchnorm="train"), make_context(forget_classes=(0, 2)))
    for name, value in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            assert value - before[name] == 3 * 2
        else:
            assert not torch.equal(value, before[name]), name


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.fixed = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, _images: Tensor) -> Tensor:
        raise MemoryError


def test_a_failure_while_learning_noise_still_unfreezes_the_network(make_context: MakeContext) -> None:
    network = Failing()
    with pytest.raises(MemoryError):
        learn_noise(network, SMALL, make_context())
    assert network.weight.requires_grad
    assert not network.fixed.requires_grad
    assert network.training


def test_noise_that_blows_up_is_a_divergence_of_its_phase(model: nn.Module, make_context: MakeContext) -> None:
    with pytest.raises(Diverged, match="phase 'noise' at step 2"):
        learn_noise(model, NoiseConfig(batch_size=4, steps=5, lr=1e30), make_context())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("init", "mean", "deviation", "low", "high"),
    [("normal", 0, 1, -9, 9), ("uniform", 0.5, 12**-0.5, 0, 1), ("zeros", 0, 0, 0, 0)],
)
def test_noise_begins_as_asked(
    init: str, mean: float, deviation: float, low: float, high: float, model: nn.Module, make_context: MakeContext
) -> None:
    noise = initial(model, NoiseConfig(batch_size=200, init=init), make_context(forget_classes=(1, 2)))
    assert noise.dtype == torch.float32
    assert noise.mean().item() == pytest.approx(mean, abs=0.03)
    assert noise.std().item() == pytest.approx(deviation, abs=0.03)
    assert low <= noise.min() <= noise.max() <= high


def test_noise_is_the_seeds(model: nn.Module, make_context: MakeContext) -> None:
    first = learn_noise(model, SMALL, make_context())
    torch.manual_seed(123)
    assert torch.equal(first, learn_noise(model, SMALL, make_context()))
    assert not torch.equal(first, learn_noise(model, SMALL, make_context(seed=1)))
