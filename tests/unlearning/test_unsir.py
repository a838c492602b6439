"""UNSIR as a whole: what it reads, its phases, and the weights that it leaves."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.oracles.unsir_step_by_step import UnsirStepByStep
from tests.unlearning.conftest import SHAPE, initial
from unsir_bench.config_fields import problems
from unsir_bench.data.dataset import ImageData, LabelledImages
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.digits import Digits
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import AccessDenied
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.runtime.progress import Progress
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import fit
from unsir_bench.training.inference import predict
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning import unsir
from unsir_bench.unlearning.method import UnlearningData
from unsir_bench.unlearning.unsir import NoiseConfig, Unsir

MakeContext = Callable[..., RunContext]


@pytest.fixture
def allowed(digits: DeviceData) -> Callable[..., UnlearningData]:
    def build(method: Unsir, classes: tuple[int, ...] = (0, 2)) -> UnlearningData:
        split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), classes, 10)
        return UnlearningData(digits, split, method, seed=0)

    return build


def quick(**changes: Any) -> Unsir:
    """UNSIR in a few steps: 2 classes x 4 images x 3 copies, and 8 classes x 5 retain images."""
    settings: dict[str, Any] = {
        "noise": NoiseConfig(batch_size=4, steps=2, copies=3),
        "retain_per_class": 5,
        "impair": Recipe(batch_size=16, lr=0.002),
        "repair": Recipe(batch_size=16, lr=0.001),
    }
    return Unsir(**{**settings, **changes})


@pytest.mark.parametrize("rounds", [1, 3])
def test_no_forget_sample_is_ever_seen(
    rounds: int, model: nn.Module, allowed: Callable[..., UnlearningData], make_context: MakeContext
) -> None:
    method = quick(rounds=rounds)
    data = allowed(method)
    method.unlearn(model, data, make_context(forget_classes=(0, 2)))
    assert data.access_counts() == {
        "retain": {"samples": 40, "reads": 40 * 2 * rounds},  # one epoch each of impair and repair
        "forget": {"samples": 0, "reads": 0},
    }


def retain_labels(share: float | None, sizes: dict[int, int], selection: str = "random") -> tuple[Counter[int], Tensor]:
    """Labels and positions of UNSIR's subset where each class has as many training images as ``sizes`` says."""
    labels = torch.cat([torch.full((size,), label) for label, size in sizes.items()])
    images = np.zeros((len(labels), *SHAPE), dtype=np.uint8)
    split = LabelledImages(images, labels.numpy())
    raw = ImageData(split, split, tuple(map(str, sizes)), "made")
    data = DeviceData(raw, Digits(), HardwareConfig(accelerator="cpu"), torch.device("cpu"), channels_last=False)
    method = Unsir(retain_per_class=4, retain_share=share, retain_selection=selection)
    allowed = UnlearningData(data, ForgetSplit.of(labels, labels, (0,), len(sizes)), method, seed=0)
    view = allowed.retain_subset(method.retain_per_class, method.retain_selection, method.retain_share)
    return Counter(view.labels.tolist()), view.indices


@pytest.mark.parametrize("selection", ["random", "first"])
@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (None, {1: 4, 2: 4, 3: 1, 4: 4}),
        (0.01, {1: 1, 2: 1, 3: 1, 4: 1}),
        (0.2, {1: 10, 2: 3, 3: 1, 4: 10}),  # of 13 images 2.6 are 3
        (0.6, {1: 30, 2: 8, 3: 1, 4: 30}),
        (1.0, {1: 50, 2: 13, 3: 1, 4: 50}),
    ],
)
def test_a_share_of_each_retain_class_is_taken_rounded_and_at_least_one(
    share: float | None, expected: dict[int, int], selection: str
) -> None:
    counts, indices = retain_labels(share, {0: 20, 1: 50, 2: 13, 3: 1, 4: 50}, selection)
    assert counts == expected
    assert len(indices.unique()) == len(indices)


def test_the_first_images_of_each_class_make_a_share_that_is_not_drawn() -> None:
    _, indices = retain_labels(0.5, {0: 2, 1: 4, 2: 6}, "first")
    assert indices.tolist() == [2, 3, 6, 7, 8]


def test_a_share_holds_the_images_that_the_same_number_does() -> None:
    sizes = {0: 9, 1: 20, 2: 20, 3: 20}
    assert torch.equal(retain_labels(0.2, sizes)[1], retain_labels(None, sizes)[1])


def test_the_share_is_what_unlearning_reads(
    model: nn.Module, allowed: Callable[..., UnlearningData], make_context: MakeContext
) -> None:
    method = quick(retain_share=0.25)
    data = allowed(method)
    method.unlearn(model, data, make_context(forget_classes=(0, 2)))
    assert data.access_counts()["retain"] == {"samples": 8 * 5, "reads": 8 * 5 * 2}  # a quarter of 20 a class


@pytest.mark.parametrize("view", ["forget", "retain"])
def test_unsir_is_refused_what_it_did_not_declare(view: str, allowed: Callable[..., UnlearningData]) -> None:
    with pytest.raises(AccessDenied, match=f"'unsir' asked for {view}_data but declares retain_subset"):
        getattr(allowed(Unsir()), view)


def test_steps_of_every_phase_are_recorded(
    model: nn.Module, allowed: Callable[..., UnlearningData], make_context: MakeContext
) -> None:
    method = quick(rounds=2, repair=Recipe(batch_size=16, lr=0.001, epochs=3))
    context = make_context(forget_classes=(0, 2))
    method.unlearn(model, allowed(method), context)
    # Impair reads 24 noise and 40 retain samples in batches of 16, repair 40 of them in three epochs.
    assert context.steps == {"noise": 2, "impair": 2 * 4, "repair": 2 * 3 * 3}
    assert set(context.clock.phases) == {"noise", "impair", "repair"}


def test_the_curve_of_a_phase_goes_on_in_the_next_round(
    model: nn.Module, allowed: Callable[..., UnlearningData], make_context: MakeContext
) -> None:
    method, context = quick(rounds=2), make_context(forget_classes=(0, 2))
    method.unlearn(model, allowed(method), context)
    assert [step for phase, step, _ in context.log.points if phase == "impair"] == list(range(1, 9))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Recipe, list[Counter[int]]]]:
    """Instead of training, note each phase with its recipe and the labels of its epochs."""
    seen: list[tuple[str, Recipe, list[Counter[int]]]] = []

    def note(_model: nn.Module, batches: EpochBatches, recipe: Recipe, _context: RunContext, phase: str) -> None:
        epochs = [
            Counter(label for _, labels in batches.batches(epoch) for label in labels.tolist())
            for epoch in range(recipe.epochs)
        ]
        seen.append((phase, recipe, epochs))

    monkeypatch.setattr(unsir, "fit", note)
    return seen


@pytest.mark.parametrize(("labels", "noise_labels"), [("own_class", {0: 12, 2: 12}), ("class_zero", {0: 24})])
def test_impair_sees_noise_under_its_labels_and_repair_retain_samples_alone(
    labels: str,
    noise_labels: dict[int, int],
    fits: list[tuple[str, Recipe, list[Counter[int]]]],
    model: nn.Module,
    allowed: Callable[..., UnlearningData],
    make_context: MakeContext,
) -> None:
    method = quick(rounds=2, noise=NoiseConfig(batch_size=4, steps=2, copies=3, labels=labels))
    method.unlearn(model, allowed(method), make_context(forget_classes=(0, 2)))
    retain = dict.fromkeys([1, 3, 4, 5, 6, 7, 8, 9], 5)
    assert (
        fits
        == [
            ("impair", method.impair, [{**retain, **noise_labels}]),
            ("repair", method.repair, [retain]),
        ]
        * 2
    )


def test_unlearning_is_the_seeds(
    model: nn.Module, allowed: Callable[..., UnlearningData], make_context: MakeContext
) -> None:
    def weights(seed: int, disturbance: int) -> dict[str, Tensor]:
        torch.manual_seed(disturbance)
        context = make_context(seed=seed, forget_classes=(0, 2))
        return quick().unlearn(copy.deepcopy(model), allowed(quick()), context).state_dict()

    first, again, other = weights(0, 1), weights(0, 2), weights(1, 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize("classes", [(3,), (0, 2)])
def test_the_fast_steps_leave_the_weights_that_the_plain_ones_leave(
    classes: tuple[int, ...], model: nn.Module, allowed: Callable[..., UnlearningData], make_context: MakeContext
) -> None:
    config, context = NoiseConfig(batch_size=16, steps=5, copies=3), make_context(forget_classes=classes)
    method = quick(noise=config)
    data = allowed(method, classes)
    start = dict(zip(classes, initial(model, config, context), strict=True))
    view = data.retain_subset(method.retain_per_class)
    images, labels = view.fetch(torch.arange(len(view)))
    noise_count, noise_images = len(classes) * 16 * 3, len(classes) * 16

    def place(drawn: int) -> int:
        """Where the twin has the sample that the mixture has at ``drawn``."""
        if drawn >= noise_count:
            return drawn - noise_count
        label, image = divmod(drawn % noise_images, 16)
        return len(view) + (label * 3 + drawn // noise_images) * 16 + image

    mixture = torch.randperm(noise_count + len(view), generator=context.generator("impair 0", "order", 0))
    retain = torch.randperm(len(view), generator=context.generator("repair 0", "order", 0))
    twin = UnsirStepByStep(16, 5, copies=3, impair_lr=0.002, repair_lr=0.001, start=start)
    twin.batches = {
        "impair": [list(map(place, piece.tolist())) for piece in mixture.split(16)],
        "repair": [piece.tolist() for piece in retain.split(16)],
    }
    plain = twin.unlearn(copy.deepcopy(model), list(zip(images, labels.tolist(), strict=True)), classes)
    fast = method.unlearn(model, data, context)
    for name, weights in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], weights, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: n + m)


def test_the_forgotten_class_is_lost_and_most_of_the_others_kept(make_context: MakeContext) -> None:
    # On all digits at the published rates: where images are few, how much is lost depends on the last digit of sums.
    config = Digits(mean=[0.305], std=[0.376], batch_size=32)
    everything = config.load(Progress(interactive=False))
    data = DeviceData(everything, config, HardwareConfig(accelerator="cpu"), torch.device("cpu"), channels_last=False)
    labels, method = data.labels("test"), Unsir(noise=NoiseConfig(batch_size=32))
    method.impair.batch_size = method.repair.batch_size = 32
    split = ForgetSplit.of(data.labels("train"), labels, (3,), 10)
    context = make_context(AllCNNConfig(width=8), forget_classes=(3,))
    recipe = Recipe(epochs=3, batch_size=32, lr=0.01)
    network = context.architecture.initial(context.image_shape, 10, seed=0)
    fit(network, EpochBatches.from_view(data.view("train"), recipe, context, "train"), recipe, context, "original")

    def accuracies() -> tuple[float, float]:
        right = predict(network, data.view("test"), context, "test").argmax(1) == labels
        return right[labels == 3].float().mean().item(), right[labels != 3].float().mean().item()

    assert min(accuracies()) > 0.8
    method.unlearn(network, UnlearningData(data, split, method, 0), context)
    forgotten, kept = accuracies()
    assert forgotten < 0.2
    assert kept > 0.8


@pytest.mark.parametrize(
    ("method", "key"),
    [
        (quick(noise=NoiseConfig(batch_size=2, distinct_images=3)), "method.noise.distinct_images=3"),
        (quick(noise=NoiseConfig(batch_size=1, batchnorm="train")), "method.noise.batch_size=1"),
        (quick(noise=NoiseConfig(labels="all_ones")), "method.noise.labels=all_ones"),
        (quick(noise=NoiseConfig(init="cauchy")), "method.noise.init=cauchy"),
        (quick(noise=NoiseConfig(weight_penalty=-1)), "method.noise.weight_penalty=-1"),
        (quick(rounds=0), "method.rounds=0"),
        (
            quick(noise=NoiseConfig(one_per_channel=True, distinct_images=2)),
            "method.noise.distinct_images=2: overrules",
        ),
        (quick(retain_per_class=0), "method.retain_per_class=0"),
        (quick(retain_share=0.0), "method.retain_share=0.0"),
        (quick(retain_share=1.5), "method.retain_share=1.5"),
        (quick(retain_selection="last"), "method.retain_selection=last"),
        (quick(impair=Recipe(lr=-1)), "method.impair.lr=-1"),
    ],
)
def test_a_setting_out_of_range_is_named(method: Unsir, key: str) -> None:
    [problem] = problems(method, "method")
    assert problem.startswith(key)
