from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from torch import Tensor, nn

from unsir_bench.config_fields import problems
from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.batches import Batch
from unsir_bench.data.device_data import DeviceData
from unsir_bench.errors import Diverged
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.torchvision_models import MobileNetV2
from unsir_bench.references.checkpoint import TrainingCheckpoint
from unsir_bench.training import warm_up
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import Variation, fit
from unsir_bench.training.recipe import Recipe, optimizer_for

MakeContext = Callable[..., RunContext]
Array = np.ndarray


def softmax_gradient(weights: Array, images: Array, labels: Array, smoothing: float = 0.0) -> Array:
    """Gradient of the mean cross-entropy of ``images @ weights.T``: (p − y)ᵀ x / n, in float64."""
    logits = images @ weights.T
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    chance = exponent / exponent.sum(axis=1, keepdims=True)
    classes = len(weights)
    target = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
    return (chance - target).T @ images / len(images)


class LinearProblem:
    """A linear softmax classifier and fixed batches, for torch in float32 and for the oracle in float64."""

    def __init__(self, batches: int = 1) -> None:
        draw = np.random.default_rng(0)
        self.batches = [(draw.normal(size=(6, 5)) * 2, draw.integers(0, 3, 6)) for _ in range(batches)]
        self.start = draw.normal(size=(3, 5))

    def fitted(self, recipe: Recipe, context: RunContext) -> Array:
        model = nn.Linear(5, 3, bias=False)
        with torch.no_grad():
            model.weight.copy_(torch.from_numpy(self.start))
        tensors = [(torch.from_numpy(x).float(), torch.from_numpy(y)) for x, y in self.batches]
        fit(model, EpochBatches(lambda _epoch: tensors, 6 * len(tensors), 6), recipe, context, "original")
        return model.weight.detach().double().numpy()


def adam_step(weights: Array, gradient: Array, recipe: Recipe) -> Array:
    """The first step of Adam (Kingma & Ba, 2015), whose moments begin at 0, with L2 in the gradient."""
    gradient = gradient + recipe.weight_decay * weights
    first, second = 0.1 * gradient / (1 - 0.9), 0.001 * gradient**2 / (1 - 0.999)
    return weights - recipe.lr * first / (np.sqrt(second) + 1e-8)


def adamw_step(weights: Array, gradient: Array, recipe: Recipe) -> Array:
    """The first step of AdamW (Loshchilov & Hutter, 2019): weights decay beside the gradient."""
    first, second = 0.1 * gradient / (1 - 0.9), 0.001 * gradient**2 / (1 - 0.999)
    return weights * (1 - recipe.lr * recipe.weight_decay) - recipe.lr * first / (np.sqrt(second) + 1e-8)


def sgd_step(weights: Array, gradient: Array, recipe: Recipe) -> Array:
    gradient = gradient + recipe.weight_decay * weights
    # The first velocity is the gradient itself; Nesterov looks one step of momentum ahead.
    return weights - recipe.lr * gradient * (1 + recipe.momentum if recipe.nesterov else 1)


STEPS = {"adam": adam_step, "adamw": adamw_step, "sgd": sgd_step}
RECIPES = {
    "sgd": Recipe(optimizer="sgd", lr=0.3),
    "sgd-decayed": Recipe(optimizer="sgd", lr=0.3, weight_decay=0.2),
    "sgd-nesterov": Recipe(optimizer="sgd", lr=0.3, nesterov=True, weight_decay=0.2),
    "adam": Recipe(optimizer="adam", lr=0.05),
    "adam-decayed": Recipe(optimizer="adam", lr=0.05, weight_decay=0.2),
    "adamw-decayed": Recipe(optimizer="adamw", lr=0.05, weight_decay=0.2),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_one_step_is_the_textbooks(recipe: Recipe, make_context: MakeContext) -> None:
    problem = LinearProblem()
    gradient = softmax_gradient(problem.start, *problem.batches[0])
    expected = STEPS[recipe.optimizer](problem.start, gradient, recipe)
    np.testing.assert_allclose(problem.fitted(recipe, make_context()), expected, atol=2e-6)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_fused_steps_are_the_plain_ones(recipe: Recipe, make_context: MakeContext) -> None:
    problem = LinearProblem(batches=20)
    fused = problem.fitted(recipe, make_context())
    kept = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "foreach": False, "fused": False}
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if recipe.optimizer == "sgd":
        kept |= {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
    weights = torch.from_numpy(problem.start).float().requires_grad_()
    optimizer = kinds[recipe.optimizer]([weights], **kept)
    for images, labels in problem.batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(torch.from_numpy(images).float() @ weights.T, torch.from_numpy(labels)).backward()
        optimizer.step()
    np.testing.assert_allclose(fused, weights.detach().double().numpy(), rtol=1e-5, atol=1e-5)


def test_steps_are_fused_unless_gradients_are_scaled(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context()
    model = AllCNNConfig().initial((3, 8, 8), 3, 0)
    for recipe in RECIPES.values():
        assert optimizer_for(model, recipe, context).defaults["fused"] is True
    scaled = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    monkeypatch.setattr(context.fabric.strategy, "_precision", scaled)
    for recipe in RECIPES.values():
        assert optimizer_for(model, recipe, context).defaults["fused"] is False


def test_momentum_carries_the_last_step_on(make_context: MakeContext) -> None:
    problem = LinearProblem(batches=2)
    weights, velocity = problem.start, np.zeros_like(problem.start)
    for images, labels in problem.batches:
        velocity = 0.7 * velocity + softmax_gradient(weights, images, labels)
        weights = weights - 0.2 * velocity
    fitted = problem.fitted(Recipe(optimizer="sgd", lr=0.2, momentum=0.7), make_context())
    np.testing.assert_allclose(fitted, weights, atol=2e-6)


def test_gradient_entries_are_clipped_before_weights_decay(make_context: MakeContext) -> None:
    problem = LinearProblem()
    gradient = softmax_gradient(problem.start, *problem.batches[0])
    assert (abs(gradient) > 0.1).any()
    assert (abs(gradient) < 0.1).any()
    recipe = Recipe(optimizer="sgd", lr=0.5, clip_value=0.1, weight_decay=0.3)
    expected = problem.start - 0.5 * (np.clip(gradient, -0.1, 0.1) + 0.3 * problem.start)
    np.testing.assert_allclose(problem.fitted(recipe, make_context()), expected, atol=2e-6)


def test_a_gradient_that_is_no_number_is_divergence_whatever_clips(make_context: MakeContext) -> None:
    for bounds in ({"clip_norm": 1.0}, {"clip_value": 1.0}, {}):
        problem = LinearProblem(batches=2)
        problem.batches[0][0][:] = np.nan
        with pytest.raises(Diverged):
            problem.fitted(Recipe(**bounds), make_context())


@pytest.mark.parametrize("bound", [0.05, 1e6])
def test_a_long_gradient_is_shortened_and_a_short_one_left_alone(bound: float, make_context: MakeContext) -> None:
    problem = LinearProblem()
    gradient = softmax_gradient(problem.start, *problem.batches[0])
    shortened = gradient * min(1, bound / np.linalg.norm(gradient))
    fitted = problem.fitted(Recipe(optimizer="sgd", lr=0.5, clip_norm=bound), make_context())
    np.testing.assert_allclose(fitted, problem.start - 0.5 * shortened, atol=2e-6)


def test_label_smoothing_spreads_a_share_over_all_classes(make_context: MakeContext) -> None:
    problem = LinearProblem()
    gradient = softmax_gradient(problem.start, *problem.batches[0], smoothing=0.3)
    fitted = problem.fitted(Recipe(optimizer="sgd", lr=0.5, label_smoothing=0.3), make_context())
    np.testing.assert_allclose(fitted, problem.start - 0.5 * gradient, atol=2e-6)


def cosine(start: float, end: float, share: float) -> float:
    """Half a cosine from ``start`` at share 0 to ``end`` at share 1."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def one_cycle(step: int, steps: int, peak: float, warmup: float) -> float:
    """Smith & Topin: up from peak/25, down to a ten-thousandth of that; the peak is at step ``warmup·steps − 1``."""
    top = warmup * steps - 1
    if step <= top:
        return cosine(peak / 25, peak, step / top)
    return cosine(peak, peak / 25 / 1e4, (step - top) / (steps - 1 - top))


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "constant": lambda step, steps: 0.4,
    "cosine": lambda step, steps: cosine(0.4, 0, step / steps),
    "onecycle": lambda step, steps: one_cycle(step, steps, 0.4, 0.3),
    # Of ten steps the first three rise from a fifth of the peak, the other seven fall.
    "triangular": lambda step, steps: float(np.interp(step, [0, 0.3 * steps, steps], [0.08, 0.4, 0])),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_step_takes_its_schedules_rate(schedule: str, make_context: MakeContext) -> None:
    problem, epochs = LinearProblem(batches=5), 2
    weights = problem.start
    for step in range(5 * epochs):
        rate = SCHEDULES[schedule](step, 5 * epochs)
        weights = weights - rate * softmax_gradient(weights, *problem.batches[step % 5])
    recipe = Recipe(optimizer="sgd", momentum=0, lr=0.4, epochs=epochs, schedule=schedule, warmup_share=0.3)
    np.testing.assert_allclose(problem.fitted(recipe, make_context()), weights, atol=1e-5)


class Recorder:
    """A checkpoint that only remembers the rates at the end of each epoch."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def load(self) -> None:
        return None

    def save(self, state: dict[str, Any]) -> None:
        self.rates.append(state["optimizer"]["param_groups"][0]["lr"])


def test_a_plateau_lowers_the_rate_once_patience_is_spent(make_context: MakeContext) -> None:
    model, recorder = nn.Linear(5, 3, bias=False), Recorder()
    # Black images give no gradient: the loss stands still, and each epoch after the first is a bad one.
    batch = [(torch.zeros(6, 5), torch.tensor([0, 1, 2, 0, 1, 2]))]
    recipe = Recipe(optimizer="sgd", lr=0.1, epochs=9, schedule="plateau", plateau_factor=0.2, plateau_patience=3)
    fit(model, EpochBatches(lambda _epoch: batch, 6, 6), recipe, make_context(), "original", recorder)
    assert recorder.rates == pytest.approx([0.1] * 4 + [0.02] * 4 + [0.004])


def test_the_rate_falls_after_the_named_epochs(make_context: MakeContext) -> None:
    model, recorder = nn.Linear(5, 3, bias=False), Recorder()
    batch = [(torch.zeros(6, 5), torch.tensor([0, 1, 2, 0, 1, 2]))]
    recipe = Recipe(optimizer="sgd", lr=0.1, epochs=10, schedule="steps", decay_epochs=[5, 8, 9], decay_factor=0.1)
    fit(model, EpochBatches(lambda _epoch: batch, 6, 6), recipe, make_context(), "original", recorder)
    # The rate of the next epoch, as saved after each: five epochs at the first rate, three at a tenth.
    assert recorder.rates == pytest.approx([0.1] * 4 + [0.01] * 3 + [0.001] + [0.0001] * 2)


@pytest.mark.parametrize(
    "recipe",
    [Recipe(schedule="steps"), Recipe(schedule="steps", decay_epochs=[0, 3]), Recipe(decay_epochs=[3])],
)
def test_epochs_of_decay_go_with_their_schedule(recipe: Recipe) -> None:
    [problem] = recipe.check("method.train")
    assert problem.startswith("method.train.decay_epochs=")


def test_the_backbone_takes_the_scaled_rate(make_context: MakeContext) -> None:
    moved = {}
    for scale in (1.0, 0.5):
        architecture = AllCNNConfig(width=2, backbone_lr_scale=scale)
        model = architecture.initial((1, 8, 8), 3, seed=0)
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        batch = [(torch.randn((4, 1, 8, 8), generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0]))]
        recipe = Recipe(optimizer="sgd", momentum=0, lr=0.1)
        fit(model, EpochBatches(lambda _e, b=batch: b, 4, 4), recipe, make_context(architecture), "original")
        moved[scale] = {name: value.detach() - before[name] for name, value in model.named_parameters()}
    for name, step in moved[1.0].items():
        factor = 1.0 if name.startswith("head.") else 0.5
        torch.testing.assert_close(moved[0.5][name], factor * step, rtol=1e-3, atol=1e-6)


def small_network() -> nn.Module:
    """Batch normalisation and dropout: running statistics and random draws must survive an interruption."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 10)
    )


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler, which compiling for a CPU needs")
def test_a_compiled_training_is_the_same_and_compiles_before_the_clock(
    digits: DeviceData, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(epochs=2, batch_size=48, lr=0.05, optimizer="sgd")  # Adam makes steps of rounding errors
    graphs = torch._dynamo.utils.counters["stats"]
    compiled_when: list[int] = []
    left_out: list[float] = []
    try_out = warm_up.try_out

    def slowly(*arguments: Any, **options: Any) -> None:
        try_out(*arguments, **options)
        time.sleep(1)

    monkeypatch.setattr(warm_up, "try_out", slowly)

    def trained(**changes: bool) -> nn.Module:
        torch._dynamo.reset()
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
        context = make_context(**changes)
        batches = EpochBatches.from_view(digits.view("train"), recipe, context, "train")
        count = Variation(after_step=lambda model, labels: compiled_when.append(graphs["unique_graphs"]))
        started = time.perf_counter()
        with context.clock.running():
            fit(model, batches, recipe, context, "impair", variation=count)
        left_out.append(time.perf_counter() - started - context.clock.total)
        return model

    plain = trained().state_dict()
    compiled_when.clear()
    compiled = trained(compiled=True)
    assert len(set(compiled_when)) == 1, "a step compiled something"
    assert left_out[0] < 1, "the clock was stopped though nothing was compiled"
    assert left_out[1] >= 1, "compiling was on the clock"
    for name, value in plain.items():
        torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_a_training_does_not_depend_on_the_scale_that_an_earlier_one_came_to(
    digits: DeviceData, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, recipe = make_context(), Recipe(batch_size=48)
    scaler = torch.amp.GradScaler("cpu")
    monkeypatch.setattr(context.fabric.strategy, "_precision", MixedPrecision("16-mixed", "cpu", scaler=scaler))
    context = make_context()
    batches = EpochBatches.from_view(digits.view("train"), recipe, context, "train")
    scales = []
    for _ in range(2):
        fit(small_network(), batches, recipe, context, "original", variation=Variation(
            before_epoch=lambda model, epoch: scales.append(scaler.get_scale())
        ))  # fmt: skip
        scaler.update(2.0)
    scaler.update(4.0)
    context.of_another_seed(1).reset_gradient_scaler()
    assert [*scales, scaler.get_scale()] == [65536.0] * 3


@pytest.mark.parametrize("bad", [1, 3, 27])
def test_a_loss_that_is_no_number_names_its_phase_and_step(bad: int, make_context: MakeContext) -> None:
    def of_epoch(_epoch: int) -> Iterable[Batch]:
        for step in range(1, 31):
            yield torch.full((4, 5), math.nan if step == bad else 1.0), torch.tensor([0, 1, 2, 0])

    context = make_context()
    with pytest.raises(Diverged, match=rf"phase 'impair' at step {bad}; a lower learning rate") as caught:
        fit(nn.Linear(5, 3), EpochBatches(of_epoch, 120, 4), Recipe(), context, "impair")
    assert (caught.value.phase, caught.value.step) == ("impair", bad)
    assert [step for _, step, _ in context.log.points] == list(range(1, bad))


def test_a_diverging_epoch_is_not_saved(make_context: MakeContext, tmp_path: Path) -> None:
    def of_epoch(epoch: int) -> Iterable[Batch]:
        yield torch.full((4, 5), math.inf if epoch == 1 else 1.0), torch.tensor([0, 1, 2, 0])

    checkpoint = TrainingCheckpoint(tmp_path / "state.pt")
    with pytest.raises(Diverged):
        fit(nn.Linear(5, 3), EpochBatches(of_epoch, 4, 4), Recipe(epochs=3), make_context(), "original", checkpoint)
    state = checkpoint.load()
    assert state is not None
    assert state["progress"]["epoch"] == 1
    assert all(bool(value.isfinite().all()) for value in state["model"].values())


@pytest.mark.parametrize("schedule", ["constant", "plateau", "onecycle", "triangular", "cosine"])
def test_no_epochs_change_nothing(schedule: str, digits: DeviceData, make_context: MakeContext) -> None:
    context, model, view = make_context(), small_network(), digits.view("train")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recipe = Recipe(epochs=0, schedule=schedule)
    state = fit(model, EpochBatches.from_view(view, recipe, context, "train"), recipe, context, "original")
    assert (state.epoch, state.steps, state.samples, state.seconds) == (0, 0, 0, 0)
    assert context.log.points == []
    assert view.usage.counts()["reads"] == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_losses_are_logged_once_a_step_in_order(digits: DeviceData, make_context: MakeContext) -> None:
    context, recipe = make_context(), Recipe(epochs=3, batch_size=16)
    batches = EpochBatches.from_view(digits.view("train"), recipe, context, "train")
    state = fit(small_network(), batches, recipe, context, "finetune")
    assert state.steps == 3 * batches.steps > 20  # more than are read from the device in one go
    assert [(phase, step) for phase, step, _ in context.log.points] == [
        ("finetune", step) for step in range(1, state.steps + 1)
    ]
    assert context.steps == {"finetune": state.steps}


def test_a_logged_loss_is_the_cross_entropy_before_its_step(make_context: MakeContext) -> None:
    problem, context = LinearProblem(), make_context()
    problem.fitted(Recipe(lr=0.5), context)
    images, labels = problem.batches[0]
    logits = images @ problem.start.T
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(6), labels])
    assert context.log.points[0][2]["loss"] == pytest.approx(expected, rel=1e-6)


def drawn(digits: DeviceData, context: RunContext, role: str = "train", epoch: int = 0) -> list[Tensor]:
    recipe = Recipe(batch_size=32, augment=Augmentation(crop_padding=1))
    batches = EpochBatches.from_view(digits.view("train"), recipe, context, role)
    return [torch.cat(parts) for parts in zip(*batches.batches(epoch), strict=True)]


def test_the_order_of_the_data_does_not_depend_on_model_method_or_what_was_drawn_before(
    digits: DeviceData, make_context: MakeContext
) -> None:
    images, labels = drawn(digits, make_context())
    other = make_context(MobileNetV2(), forget_classes=(3, 4))
    torch.manual_seed(77)
    drawn(digits, other, "repair 0")
    again_images, again_labels = drawn(digits, other)
    assert torch.equal(labels, again_labels)
    assert torch.equal(images, again_images)


@pytest.mark.parametrize("change", [{"epoch": 1}, {"role": "repair 0"}, {"seed": 1}], ids=str)
def test_each_epoch_role_and_seed_has_its_own_order(
    change: dict[str, Any], digits: DeviceData, make_context: MakeContext
) -> None:
    seed = change.pop("seed", 0)
    labels = drawn(digits, make_context())[1]
    other = drawn(digits, make_context(seed=seed), **change)[1]
    assert not torch.equal(labels, other)
    assert torch.equal(labels.sort().values, other.sort().values)


def test_dropout_of_an_epoch_does_not_depend_on_what_was_drawn_before(
    digits: DeviceData, make_context: MakeContext
) -> None:
    batches = EpochBatches.from_view(digits.view("train"), Recipe(), make_context(), "train")
    draws = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        batches.batches(3)
        draws.append(torch.rand(4))
    batches.batches(4)
    assert torch.equal(*draws)
    assert not torch.equal(draws[0], torch.rand(4))


@pytest.mark.parametrize(
    ("recipe", "key"),
    [
        (Recipe(nesterov=True, optimizer="adam"), "train.nesterov=true"),
        (Recipe(nesterov=True, optimizer="sgd", momentum=0), "train.nesterov=true"),
        (Recipe(clip_value=0.1, clip_norm=1.0), "train.clip_norm=1.0"),
        (Recipe(optimizer="rmsprop"), "train.optimizer=rmsprop"),
        (Recipe(schedule="linear"), "train.schedule=linear"),
        (Recipe(lr=0), "train.lr=0"),
        (Recipe(lr=math.nan), "train.lr=nan"),
        (Recipe(momentum=1), "train.momentum=1"),
        (Recipe(epochs=-1), "train.epochs=-1"),
        (Recipe(clip_value=0), "train.clip_value=0"),
        (Recipe(augment=Augmentation(crop_padding=-1)), "train.augment.crop_padding=-1"),
    ],
)
def test_a_setting_out_of_range_is_named(recipe: Recipe, key: str) -> None:
    [problem] = problems(recipe, "train")
    assert problem.startswith(key)


@pytest.mark.parametrize(("batches", "warmup"), [(1, 0.3), (2, 0.5), (4, 0.25), (3, 0.3)])
def test_one_cycle_works_for_any_number_of_steps(batches: int, warmup: float, make_context: MakeContext) -> None:
    recipe = Recipe(optimizer="sgd", lr=0.1, schedule="onecycle", warmup_share=warmup)
    assert np.isfinite(LinearProblem(batches).fitted(recipe, make_context())).all()
