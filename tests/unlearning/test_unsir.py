from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from torch import Tensor, nn

from tests.oracles.unsir_step_by_step import UnsirStepByStep
from unsir_bench.config import typed
from unsir_bench.config_fields import problems
from unsir_bench.data.batches import Batch, DataView
from unsir_bench.data.dataset import ImageData, LabelledImages
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.digits import Digits
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import AccessDenied, Diverged
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
from unsir_bench.unlearning.unsir import NoiseConfig, Unsir, keep_noise, learn_noise, mixed_batches, noise_samples

MakeContext = Callable[..., RunContext]
SHAPE = (1, 8, 8)
SMALL = NoiseConfig(batch_size=4, steps=3)


@pytest.fixture
def model() -> nn.Module:
    """A network in eval mode whose logits depend on the image: its running statistics have settled."""
    network = AllCNNConfig(width=4).initial(SHAPE, 10, seed=0).train()
    draws = torch.Generator().manual_seed(1)
    for _ in range(30):
        network(torch.randn((32, *SHAPE), generator=draws))
    with torch.no_grad():
        network.get_submodule("head").weight.mul_(10)
    return network.eval()


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


def initial(model: nn.Module, config: NoiseConfig, context: RunContext) -> Tensor:
    return learn_noise(model, NoiseConfig(batch_size=config.batch_size, init=config.init, steps=0), context)


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


def preset(name: str, *overrides: str) -> Unsir:
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        method = typed(compose("config", ["dataset=cifar10", f"method={name}", *overrides])).method
    assert isinstance(method, Unsir)
    return method


# Noise samples of one epoch of impair by their label, forgetting {0, 2} of grey images: images x 20 copies; the
# notebook's loop takes an image per channel.
PRESETS = {
    "unsir": {0: 256 * 20, 2: 256 * 20},
    "unsir_gentle": {0: 256 * 20, 2: 256 * 20},
    "unsir_slim": {0: 256 * 20, 2: 256 * 20},
    "unsir_later": {0: 240, 2: 240},
    "unsir_notebook": {0: 2 * 20},
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_impair_epoch_has_the_published_noise_samples(
    name: str, digits: DeviceData, make_context: MakeContext
) -> None:
    method, context = preset(name), make_context(forget_classes=(0, 2))
    noise = torch.zeros(2, method.noise.batch_size, *SHAPE)
    retain = digits.view("train", torch.where(digits.labels("train") == 5)[0])
    samples = noise_samples(noise, method.noise, context)
    batches = mixed_batches(retain, samples, method.noise.copies, method.impair, context, "impair 0")
    counted = Counter(label for _, labels in batches.batches(0) for label in labels.tolist())
    assert counted == {**PRESETS[name], 5: len(retain)}
    assert batches.samples == counted.total()


@pytest.mark.parametrize(("channels", "images"), [(3, 3), (1, 1)])
def test_the_notebook_takes_a_noise_image_per_channel(channels: int, images: int, make_context: MakeContext) -> None:
    config = preset("unsir_notebook").noise
    noise = torch.zeros(1, 8, channels, 4, 4)
    assert len(noise_samples(noise, config, make_context(forget_classes=(0,)))[1]) == images


PUBLISHED = {
    "unsir": (40, 0.1, 0.1, "eval", True, "random", 1000, 0.02, 0.01),
    "unsir_notebook": (40, 0.1, 0.1, "train", False, "first", 1000, 0.02, 0.01),
    "unsir_gentle": (250, 0.1, 0.1, "eval", True, "random", 500, 1e-4, 1e-4),
    "unsir_later": (250, 0.1, 0.1, "train", True, "first", 500, 1e-4, 1e-4),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_has_the_published_settings(name: str) -> None:
    method = preset(name)
    noise = method.noise
    assert (
        noise.steps, noise.lr, noise.weight_penalty, noise.batchnorm, noise.classes_together,
        method.retain_selection, method.retain_per_class, method.impair.lr, method.repair.lr,
    ) == PUBLISHED[name]  # fmt: skip
    for recipe in (method.impair, method.repair):
        assert (recipe.epochs, recipe.batch_size, recipe.optimizer, recipe.weight_decay) == (1, 256, "adam", 0)


@pytest.mark.parametrize(
    ("labels", "distinct", "expected"),
    [
        ("own_class", None, [4] * 3 + [7] * 3),
        ("own_class", 2, [4] * 2 + [7] * 2),
        ("class_zero", None, [0] * 6),
        ("class_zero", 1, [0] * 2),
    ],
)
def test_noise_becomes_labelled_samples_each_image_once(
    labels: str, distinct: int | None, expected: list[int], make_context: MakeContext
) -> None:
    noise = torch.arange(6.0).reshape(2, 3, 1, 1, 1).expand(2, 3, *SHAPE)
    config = NoiseConfig(batch_size=3, labels=labels, distinct_images=distinct)
    images, given = noise_samples(noise, config, make_context(forget_classes=(4, 7)))
    kept = distinct or 3
    assert given.tolist() == expected
    assert images[:, 0, 0, 0].tolist() == [*range(kept), *range(3, 3 + kept)]


def contents(images: Tensor, labels: Tensor) -> Counter[tuple[bytes, int]]:
    return Counter((image.numpy().tobytes(), label) for image, label in zip(images, labels.tolist(), strict=True))


@pytest.fixture
def retain(digits: DeviceData) -> DataView:
    return digits.view("train", torch.where(digits.labels("train") > 6)[0][::2])


@pytest.fixture
def noise() -> Batch:
    return torch.randn((5, *SHAPE), generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 2, 2, 6])


@pytest.mark.parametrize("batch_size", [1, 16, 1000])
@pytest.mark.parametrize("copies", [1, 7])
def test_an_epoch_holds_each_noise_image_its_copies_times_and_each_retain_image_once(
    batch_size: int, copies: int, retain: DataView, noise: Batch, make_context: MakeContext
) -> None:
    recipe = Recipe(batch_size=batch_size)
    batches = mixed_batches(retain, noise, copies, recipe, make_context(), "impair 0")
    parts = list(batches.batches(0))
    expected = contents(*retain.fetch(torch.arange(len(retain))))
    for key, count in contents(*noise).items():
        expected[key] += count * copies
    assert contents(*(torch.cat(part) for part in zip(*parts, strict=True))) == expected
    assert len(parts) == batches.steps
    assert all(len(labels) == batch_size for _, labels in parts[:-1])


def test_noise_and_retain_samples_are_shuffled_together(
    retain: DataView, noise: Batch, make_context: MakeContext
) -> None:
    def order(epoch: int, role: str = "impair 0", seed: int = 0) -> list[int]:
        batches = mixed_batches(retain, noise, 6, Recipe(batch_size=16), make_context(seed=seed), role)
        return torch.cat([labels for _, labels in batches.batches(epoch)]).tolist()

    first = order(0)
    assert {label > 6 for label in first[:16]} == {True, False}
    assert first == order(0)
    for other in (order(1), order(0, "impair 1"), order(0, seed=1)):
        assert other != first
        assert sorted(other) == sorted(first)


def test_only_the_reads_of_retain_images_are_counted(retain: DataView, noise: Batch, make_context: MakeContext) -> None:
    before = retain.usage.counts()["reads"]
    list(mixed_batches(retain, noise, 20, Recipe(batch_size=8), make_context(), "impair 0").batches(0))
    assert retain.usage.counts()["reads"] - before == len(retain)


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


@pytest.mark.parametrize("name", ["unsir", "unsir_notebook", "unsir_gentle", "unsir_slim"])
def test_share_and_batch_size_are_the_scales_only_where_a_preset_follows_it(name: str) -> None:
    plain = preset(name, "scale=cpu", "dataset.batch_size=48")
    scaled = preset(name, "scale=cpu", "scale.data=cifar10", "dataset.batch_size=48")
    assert (plain.retain_share, scaled.retain_share) == (None, 0.2)
    for method, size in ((plain, 48), (scaled, 32)):
        assert method.noise.batch_size == method.impair.batch_size == method.repair.batch_size == size


@pytest.mark.parametrize("scale", ["smoke", "cpu", "paper"])
@pytest.mark.parametrize("data", ["plain", "cifar10", "cifar100", "vggface100"])
def test_the_later_run_takes_500_images_at_every_scale(scale: str, data: str) -> None:
    method = preset("unsir_later", f"scale={scale}", f"scale.data={data}", "dataset.batch_size=48")
    assert (method.retain_per_class, method.retain_share) == (500, None)


@pytest.mark.parametrize(("method", "key"), [("unsir_gentle", "retain_per_class"), ("unsir", "retain_per_class")])
def test_a_record_says_null_for_what_the_share_overrules_and_the_run_id_stays(method: str, key: str) -> None:
    def plain(*overrides: str) -> tuple[str, dict[str, object]]:
        with initialize_config_module("unsir_bench.conf", version_base="1.3"):
            config = typed(compose("config", ["dataset=digits", f"method={method}", *overrides]))
        return config.run_id, config.as_plain()["method"]

    (_, used), (name, overruled) = plain(), plain("method.retain_share=0.2")
    assert used[key] == {"unsir_gentle": 500, "unsir": 1000}[method]
    assert overruled == {**used, key: None, "retain_share": 0.2}
    # Runs from before are found under this id: its hash still takes the number.
    assert name != plain("method.retain_share=0.2", f"method.{key}=7")[0]


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
