"""The fast Fisher diagonal against the published batch-1 loop, for every kind of layer and of network."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.oracles.fisher_batch_1 import fisher_batch_1
from unsir_bench.data.batches import DataView, Normalisation, ResidentImages
from unsir_bench.errors import NotApplicable
from unsir_bench.models import cpu_kernels as whole_map_convolution
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.cpu_kernels import WholeMapConv2d
from unsir_bench.models.model import ModelConfig, frozen
from unsir_bench.models.timm_models import TimmModel
from unsir_bench.models.torchvision_models import MobileNetV2, ResNet18
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.fisher.diagonal import fisher_diagonal
from unsir_bench.unlearning.fisher.layer_contractions import _MatrixLayer, contractions_for

CLASSES = 4
NETWORKS: dict[str, ModelConfig] = {
    "allcnn": AllCNNConfig(width=4),
    "resnet18": ResNet18(width=8),
    "resnet18 cifar stem": ResNet18(width=8, stem="cifar"),
    "mobilenetv2": MobileNetV2(width_mult=0.25),
    "vit": TimmModel(arch="vit_tiny_patch16_224", options={"patch_size": 8, "embed_dim": 24, "depth": 2}),
}
Compute = Callable[..., dict[str, Tensor]]


def pictures(count: int, size: int = 16) -> DataView:
    """Random images; every class index is a label, which must play no part."""
    draws = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, size, size), generator=draws, dtype=torch.uint8)
    return DataView(
        ResidentImages(images.numpy(), torch.device("cpu")),
        torch.arange(count) % CLASSES,
        torch.arange(count),
        Normalisation((0.5,), (0.25,)),
    )


def lively(model: nn.Module) -> nn.Module:
    """Weights and statistics away from the zeros and ones of initialisation."""
    draws = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand(value.shape, generator=draws).sub(0.3), alpha=0.1)
    return model.eval()


@pytest.fixture
def compute(make_context: Callable[..., RunContext]) -> Compute:
    def diagonal(model: nn.Module, view: DataView, precision: str = "32-true", **options: Any) -> dict[str, Tensor]:
        fabric = HardwareConfig(precision=precision).start()
        context = make_context(num_classes=CLASSES, image_shape=(3, 16, 16), fabric=fabric)
        settings: dict[str, Any] = {"labels": "exact", "batch_size": 3, "fallback": False}
        return fisher_diagonal(model, view, context, **{**settings, **options})

    return diagonal


def relative_error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest, over parameters, of the error's norm over the expected value's norm."""
    assert found.keys() == expected.keys()
    return max(float((found[name] - value).norm() / value.norm().clamp(min=1e-30)) for name, value in expected.items())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
def test_every_network_agrees_with_the_batch_1_loop(name: str, layout: torch.memory_format, compute: Compute) -> None:
    torch.manual_seed(0)
    model = lively(NETWORKS[name].build((3, 16, 16), CLASSES)).to(memory_format=layout)  # type: ignore[call-overload]
    view = pictures(5)
    images, _ = view.fetch(torch.arange(5))
    assert relative_error(compute(model, view), fisher_batch_1(model, images)) < 1e-5


class Tokens(nn.Module):
    """Embeddings of quantised pixels, tokens, positions, layer and group norms, a grouped and dilated convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(3, 6, 3, stride=2, padding=2, dilation=2, groups=3)
        self.group_norm = nn.GroupNorm(2, 6)
        self.embedding = nn.Embedding(7, 6, padding_idx=0)
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.positions = nn.Parameter(torch.randn(1, 9, 6))
        self.norm = nn.LayerNorm((9, 6))
        self.mix = nn.Linear(6, 5, bias=False)
        self.norm_1d = nn.BatchNorm1d(5)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        features = self.group_norm(self.grouped(images)).relu()
        words = features[:, 0, :2, :4].flatten(1).mul(3).long().clamp(0, 6)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), self.embedding(words)], dim=1) + self.positions
        tokens = tokens + features.mean(dim=(2, 3))[:, None]
        mixed = self.mix(self.norm(tokens)).transpose(1, 2)
        return self.head(self.norm_1d(mixed).mean(dim=2))


@pytest.mark.parametrize("classes_seen", [1, 2])
def test_every_kind_of_layer_agrees_with_the_batch_1_loop(classes_seen: int, compute: Compute) -> None:
    torch.manual_seed(0)
    model = lively(Tokens())
    view = pictures(4 * classes_seen)
    images, _ = view.fetch(torch.arange(len(view)))
    found, expected = compute(model, view), fisher_batch_1(model, images)
    assert relative_error(found, expected) < 1e-5
    assert all(value.norm() > 0 for value in expected.values())


def test_a_convolution_computed_as_a_product_agrees_with_the_batch_1_loop(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_map_convolution, "LEAST_BATCH", 1)
    torch.manual_seed(0)
    whole = WholeMapConv2d(8, 6, 3, stride=2, padding=1)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 8, stride=8), nn.ReLU(), whole, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(6, CLASSES)
    )
    view = pictures(5)
    images, _ = view.fetch(torch.arange(5))
    found, expected = compute(model, view), fisher_batch_1(model, images)
    assert relative_error(found, expected) < 1e-5
    assert all(value.norm() > 0 for value in expected.values())


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How each pass of each layer was taken in."""
    taken: list[str] = []
    for way in ("_keep", "_square"):
        usual = getattr(_MatrixLayer, way)

        def noted(layer: Any, *tensors: Tensor, way: str = way, usual: Callable[..., None] = usual) -> None:
            taken.append(way)
            usual(layer, *tensors)

        monkeypatch.setattr(_MatrixLayer, way, noted)
    return taken


def test_few_positions_and_many_give_the_same(
    compute: Compute, make_context: Callable[..., RunContext], ways: list[str]
) -> None:
    # 16 classes make 16 positions few (16 + 1 < 2 * 16), 4 classes make them many; 4 of the 16 logits decide alone.
    # The 147 inputs are more than the 136 pairs of positions.
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 5, 7, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    few, many = (nn.Sequential(trunk, nn.Linear(5, classes)) for classes in (16, CLASSES))
    with torch.no_grad():
        few[1].weight[:CLASSES], few[1].bias[:CLASSES] = many[1].weight, many[1].bias
        few[1].weight[CLASSES:], few[1].bias[CLASSES:] = 0, -200
    context = make_context(num_classes=16, image_shape=(3, 16, 16))
    wide = fisher_diagonal(few, pictures(6), context, labels="exact", batch_size=6, fallback=False)
    assert ways[-32:] == ["_keep"] * 32  # 16 passes through the head and the convolution
    narrow = compute(many, pictures(6), batch_size=6)
    assert ways[-8:] == ["_keep", "_square"] * 4  # the head has a single position
    assert torch.allclose(wide["0.0.weight"], narrow["0.0.weight"], rtol=1e-4, atol=1e-12)


def squares(layer: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Squared gradients by autograd, summed over images that pass alone."""
    found = {name: torch.zeros_like(value) for name, value in layer.named_parameters()}
    for image in images:
        gradients = torch.autograd.grad(layer(image[None]).square().sum(), list(layer.parameters()))
        for total, gradient in zip(found.values(), gradients, strict=True):
            total.add_(gradient.square())
    return found


@pytest.mark.parametrize(
    ("build", "shape", "passes", "way"),
    [
        (lambda: nn.Linear(96, 2), (65, 96), 100, "_square"),  # 2145 pairs of positions, 96 inputs
        (lambda: nn.Conv2d(256, 2, 3, padding=1), (256, 4, 4), 100, "_keep"),  # 136 pairs, 2304 inputs
        (lambda: nn.Conv2d(256, 2, 3, padding=1), (256, 4, 4), 8, "_square"),  # 8 passes for 16 positions
        (lambda: nn.Linear(1, 2), (1,), 1, "_keep"),  # a single position
    ],
)
def test_products_are_kept_where_they_are_fewer_than_the_inputs(
    build: Callable[[], nn.Module], shape: tuple[int, ...], passes: int, way: str, ways: list[str]
) -> None:
    torch.manual_seed(0)
    layer = build()
    [contraction] = contractions_for("layer", layer, passes)
    totals = {f"layer.{name}": torch.zeros_like(value) for name, value in layer.named_parameters()}
    images, root = torch.randn(3, *shape), torch.zeros((), requires_grad=True)
    with frozen(layer, training=False), contraction.listening(3, root, totals):
        layer(images).square().sum().backward()
        contraction.finish()
    assert ways == [way]
    assert relative_error(totals, {f"layer.{name}": value for name, value in squares(layer, images).items()}) < 1e-5


@pytest.mark.parametrize("fallback", [False, True])
def test_a_mixed_precision_does_not_round_it(fallback: bool, compute: Compute) -> None:
    # The sums are of squares: in half precision small ones would be lost.
    model, view = lively(NETWORKS["allcnn"].build((3, 16, 16), CLASSES)), pictures(5)
    full = compute(model, view, fallback=fallback)
    mixed = compute(model, view, fallback=fallback, precision="bf16-mixed")
    for name, value in full.items():
        torch.testing.assert_close(mixed[name], value, msg=name)


@pytest.mark.parametrize("fallback", [False, True])
def test_weights_of_16_bits_round_it_no_further(fallback: bool, compute: Compute) -> None:
    model, view = lively(NETWORKS["allcnn"].build((3, 16, 16), CLASSES)).bfloat16(), pictures(5)
    found = compute(model, view, fallback=fallback, precision="bf16-true")
    assert next(model.parameters()).dtype == torch.bfloat16
    for name, value in compute(model.float(), view, fallback=fallback).items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_the_batch_size_does_not_matter(compute: Compute) -> None:
    model = lively(NETWORKS["resnet18"].build((3, 16, 16), CLASSES))
    whole, pieces = (compute(model, pictures(7), batch_size=size) for size in (7, 2))
    assert relative_error(pieces, whole) < 1e-5


def test_drawn_labels_estimate_the_exact_diagonal_without_bias(compute: Compute) -> None:
    torch.manual_seed(0)
    model = lively(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, CLASSES)))
    view = pictures(3, size=4)
    repeated = DataView(view._store, view._labels, torch.arange(3).repeat(4000), view.normalise)
    exact = compute(model, view)
    drawn = compute(model, repeated, labels="mc", batch_size=3000)
    assert relative_error(drawn, exact) < 0.05


def test_drawn_labels_agree_with_autograd_for_the_same_draws(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lively(NETWORKS["resnet18"].build((3, 16, 16), CLASSES))
    labels = torch.tensor([1, 3, 0])
    monkeypatch.setattr(torch, "multinomial", lambda *args, **kwargs: labels[:, None])
    found = compute(model, pictures(3), labels="mc")
    images, _ = pictures(3).fetch(torch.arange(3))
    expected = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for image, label in zip(images, labels, strict=True):
        loss = nn.functional.cross_entropy(model(image[None]), label[None])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for total, gradient in zip(expected.values(), gradients, strict=True):
            total.add_(gradient**2 / 3)
    assert relative_error(found, expected) < 1e-5


def test_the_model_is_as_it_was(compute: Compute) -> None:
    for config in NETWORKS.values():
        model = lively(config.build((3, 16, 16), CLASSES)).train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        names = [name for name, _ in model.named_parameters()]
        compute(model, pictures(3))
        assert model.training
        assert [name for name, _ in model.named_parameters()] == names
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
        assert not any(module._forward_hooks for module in model.modules())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Scaled(nn.Module):
    """A parameter that no sample has a copy of."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.gain = nn.Parameter(torch.rand(3 * 4 * 4))
        self.head = nn.Linear(3 * 4 * 4, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.flatten(images) * self.gain)


class Doubling(nn.Linear):
    """A linear layer that is none."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + super().forward(2 * inputs).tanh()


class Twice(nn.Module):
    """A layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(48, 48)
        self.head = nn.Linear(48, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.shared(self.shared(images.flatten(1)).relu()))


class ChangedInput(nn.Module):
    """A layer whose input is changed after it was used."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(48, 48)
        self.head = nn.Linear(48, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1) * 1
        hidden = self.first(flat)
        flat += 1
        return self.head(hidden.relu())


ODD = {
    "gain": Scaled,
    "1.weight": lambda: nn.Sequential(nn.Flatten(), Doubling(48, CLASSES)),
    "shared": Twice,
    "first": ChangedInput,
    "0": lambda: nn.Sequential(nn.Conv2d(3, CLASSES, 3, padding=1, padding_mode="reflect"), nn.Flatten(2), Mean()),
}


class Mean(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.mean(dim=2)


@pytest.mark.parametrize("name", ODD)
def test_a_module_that_cannot_be_treated_is_named(name: str, compute: Compute) -> None:
    with pytest.raises(NotApplicable, match=rf"cannot treat '{name}.*method\.fallback=true"):
        compute(lively(ODD[name]()), pictures(3, size=4))


# Autograd itself cannot train through an input that was changed.
@pytest.mark.parametrize("name", [name for name in ODD if name != "first"])
def test_the_fallback_is_exact_for_any_network(name: str, compute: Compute) -> None:
    model = lively(ODD[name]())
    images, _ = pictures(3, size=4).fetch(torch.arange(3))
    assert relative_error(compute(model, pictures(3, size=4), fallback=True), fisher_batch_1(model, images)) < 1e-5


def test_memory_is_flat_in_the_number_of_samples(compute: Compute) -> None:
    psutil = pytest.importorskip("psutil")
    model = lively(NETWORKS["resnet18"].build((3, 16, 16), CLASSES))
    compute(model, pictures(8), batch_size=8)
    before = psutil.Process().memory_info().rss
    compute(model, pictures(160), batch_size=8)
    # The layers' inputs of 160 samples alone would take 20 MB.
    assert psutil.Process().memory_info().rss - before < 10e6
