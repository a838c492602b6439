"""UNSIR's presets: the published settings and numbers of noise samples, and what follows the scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from tests.unlearning.conftest import SHAPE
from unsir_bench import compose
from unsir_bench.data.device_data import DeviceData
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.unsir import Unsir, mixed_batches, noise_samples

MakeContext = Callable[..., RunContext]


def preset(name: str, *overrides: str) -> Unsir:
    method = compose(["dataset=cifar10", f"method={name}", *overrides]).method
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


@pytest.mark.parametrize("name", ["unsir", "unsir_notebook", "unsir_gentle", "unsir_slim"])
def test_share_and_batch_size_are_the_scales_only_where_a_preset_follows_it(name: str) -> None:
    plain = preset(name, "scale=cpu", "dataset.batch_size=48")
    scaled = preset(name, "scale=cpu", "scale.data=cifar10", "dataset.batch_size=48")
    assert (plain.retain_share, scaled.retain_share) == (None, 0.2)
    for method, size in ((plain, 48), (scaled, 32)):
        assert method.noise.batch_size == method.impair.batch_size == method.repair.batch_size == size


@pytest.mark.parametrize("scale", ["smoke", "cpu", "paper"])
@pytest.mark.parametrize("data", ["plain", "cifar10", "cifar100", "vggface100"])
def test_the_later_run_takes_500_images_and_batches_of_256_at_every_scale(scale: str, data: str) -> None:
    method = preset("unsir_later", f"scale={scale}", f"scale.data={data}", "dataset.batch_size=48")
    assert (method.retain_per_class, method.retain_share) == (500, None)
    assert (method.noise.batch_size, method.impair.batch_size, method.repair.batch_size) == (256, 256, 256)
    assert method.noise.labels == "own_class"


def test_the_later_run_has_its_rate_in_all_layers_of_a_pretrained_network_where_other_presets_follow_the_model() -> (
    None
):
    later, other = (preset(name, "model=resnet18_pretrained") for name in ("unsir_later", "unsir_gentle"))
    assert (later.impair.backbone_lr_scale, later.repair.backbone_lr_scale) == (1.0, 1.0)
    assert (other.impair.backbone_lr_scale, other.repair.backbone_lr_scale) == (None, None)


@pytest.mark.parametrize(("method", "key"), [("unsir_gentle", "retain_per_class"), ("unsir", "retain_per_class")])
def test_a_record_says_null_for_what_the_share_overrules_and_the_run_id_stays(method: str, key: str) -> None:
    def plain(*overrides: str) -> tuple[str, dict[str, object]]:
        config = compose(["dataset=digits", f"method={method}", *overrides])
        return config.run_id, config.as_plain()["method"]

    (_, used), (name, overruled) = plain(), plain("method.retain_share=0.2")
    assert used[key] == {"unsir_gentle": 500, "unsir": 1000}[method]
    assert overruled == {**used, key: None, "retain_share": 0.2}
    # Runs from before are found under this id: its hash still takes the number.
    assert name != plain("method.retain_share=0.2", f"method.{key}=7")[0]
