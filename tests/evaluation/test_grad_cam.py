"""Grad-CAM against plain automatic differentiation, layer choice, and a model that stays as it was."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation import grad_cam as grad_cam_module
from unsir_bench.evaluation.grad_cam import grad_cam
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.frozen_head import FrozenHeadConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.models.timm_models import TimmModel
from unsir_bench.models.torchvision_models import ResNet18

VIT = {"patch_size": 2, "embed_dim": 24, "depth": 2}
LABELS = torch.tensor([2, 0, 1, 2, 1])


def built(architecture: ModelConfig, shape: tuple[int, int, int]) -> nn.Module:
    """With statistics and biases of a network that was trained, in train mode."""
    model = architecture.initial(shape, 3, seed=0)
    draws = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=draws)
            module.running_var.uniform_(0.5, 2, generator=draws)
    return model


def some_images(*shape: int) -> Tensor:
    return torch.randn((len(LABELS), *shape), generator=torch.Generator().manual_seed(2))


def weighted_map(feature_map: Tensor, score: Tensor) -> Tensor:
    """Equations 1 and 2 of the paper for one image: feature_map is (1, channels, height, width)."""
    (gradient,) = torch.autograd.grad(score, feature_map)
    total = torch.zeros(feature_map.shape[2:])
    for channel in range(feature_map.shape[1]):
        total += gradient[0, channel].mean() * feature_map[0, channel].detach()
    return total.clamp(min=0)


def enlarged(small: Tensor, size: tuple[int, int]) -> Tensor:
    large = F.interpolate(small[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    return large / small.max() if small.max() > 0 else torch.zeros_like(large)


def by_hand(body: Callable[[Tensor], Tensor], rest: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Maps of ``rest(body(image))``, image by image; ``body`` ends in the feature map."""
    maps = []
    for image, label in zip(images, LABELS.tolist(), strict=True):
        feature_map = body(image[None]).detach().requires_grad_()
        score = rest(feature_map)[0, label]
        maps.append(enlarged(weighted_map(feature_map, score), (images.shape[2], images.shape[3])))
    return torch.stack(maps)


def assert_same_maps(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == torch.float32
    assert found.device.type == "cpu"
    assert not found.requires_grad
    assert found.min() >= 0
    assert 0.9 < found.max() <= 1  # a peak between the pixels of the enlarged map is not reached
    assert len({tuple(each.flatten().tolist()) for each in expected}) > 1, "maps that are alike test nothing"
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 20)])
def test_maps_of_the_all_convolutional_network(shape: tuple[int, int, int]) -> None:
    model = built(AllCNNConfig(width=4), shape)
    images = some_images(*shape)
    found = grad_cam(model, images, LABELS).maps
    net = copy.deepcopy(model).eval()
    expected = by_hand(net.features, lambda maps: net.head(maps.mean((2, 3))), images)
    assert found.shape == (5, *shape[1:])
    assert_same_maps(found, expected)
    with torch.no_grad():
        torch.testing.assert_close(grad_cam(model, images, LABELS).maps, found)


@pytest.mark.parametrize("classifier", ["logistic", "ridge", "nearest_mean"])
def test_maps_of_a_frozen_head_are_those_of_its_backbones_features(classifier: str) -> None:
    model = built(FrozenHeadConfig(backbone=AllCNNConfig(width=4), classifier=classifier), (1, 8, 8))
    with torch.no_grad():
        model.head.weight.normal_(generator=torch.Generator().manual_seed(3))
    images, net = some_images(1, 8, 8), copy.deepcopy(model).eval()
    found = grad_cam(model, images, LABELS).maps
    expected = by_hand(
        net.backbone.features, lambda maps: net.head(F.normalize(maps.mean((2, 3)).double(), dim=1)), images
    )
    assert_same_maps(found, expected)
    assert model.head.weight.dtype == torch.float64


def test_a_k_means_head_has_no_gradient_to_the_image() -> None:
    model = built(FrozenHeadConfig(backbone=AllCNNConfig(width=4), classifier="kmeans"), (1, 8, 8))
    with pytest.raises(MetricUnavailable, match="no gradient to the image"):
        grad_cam(model, some_images(1, 8, 8), LABELS)


def test_peaks_are_the_largest_values_that_the_scaling_hides() -> None:
    model, images = built(AllCNNConfig(width=4), (1, 8, 8)), some_images(1, 8, 8)
    net = copy.deepcopy(model).eval()
    expected = []
    for image, label in zip(images, LABELS.tolist(), strict=True):
        feature_map = net.features(image[None]).detach().requires_grad_()
        expected.append(weighted_map(feature_map, net.head(feature_map.mean((2, 3)))[0, label]).max())
    peaks = grad_cam(model, images, LABELS).peaks
    torch.testing.assert_close(peaks, torch.stack(expected).detach().float())
    # A head twice as large speaks twice as loud; the maps are scaled and stay.
    with torch.no_grad():
        model.head.weight.mul_(2)
    torch.testing.assert_close(grad_cam(model, images, LABELS).peaks, 2 * peaks)


def test_a_map_that_is_positive_everywhere_keeps_its_least_value() -> None:
    """Maps times peaks have one scale: a map from 4.9 to 5 is not drawn from 0 to 5, nor one of 5 alone as nothing."""
    model, images = built(AllCNNConfig(width=4), (1, 8, 8)), some_images(1, 8, 8)
    with torch.no_grad():
        model.head.weight.copy_(model.head.weight.abs() + 0.1)
    net = copy.deepcopy(model).eval()
    found = grad_cam(model, images, LABELS)
    for place, (image, label) in enumerate(zip(images, LABELS.tolist(), strict=True)):
        feature_map = net.features(image[None]).detach().requires_grad_()
        small = weighted_map(feature_map, net.head(feature_map.mean((2, 3)))[0, label])
        product = found.maps[place] * found.peaks[place]
        assert float(product.min()) == pytest.approx(float(small.min()), rel=0.05, abs=1e-6)
        assert float(product.max()) == pytest.approx(float(small.max()), rel=0.05)


def resnet_parts(net: nn.Module) -> list[nn.Module]:
    return [net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4]


@pytest.mark.parametrize(("size", "stages"), [(16, 8), (8, 7)])
def test_maps_of_a_residual_network_are_those_of_its_last_stage_with_more_than_one_position(
    size: int, stages: int
) -> None:
    """On 8x8 images the fourth stage is left with one position, on which no map can be drawn."""
    model = built(ResNet18(width=8, stem="cifar"), (3, size, size))
    images = some_images(3, size, size)
    found = grad_cam(model, images, LABELS).maps
    net = copy.deepcopy(model).eval()
    parts = resnet_parts(net)
    body, rest = nn.Sequential(*parts[:stages]), nn.Sequential(*parts[stages:], net.avgpool, nn.Flatten(), net.fc)
    assert body(images).shape[2:] == (2, 2)
    assert_same_maps(found, by_hand(body, rest, images))


@pytest.mark.parametrize(
    "options",
    [{}, {"class_token": False, "global_pool": "avg"}, {"reg_tokens": 3}],
    ids=["class token", "no class token", "registers"],
)
@pytest.mark.parametrize("size", [(8, 8), (8, 12)])
def test_maps_of_a_vision_transformer(options: dict[str, object], size: tuple[int, int]) -> None:
    architecture = TimmModel(arch="vit_tiny_patch16_224", options={**VIT, **options})
    model = built(architecture, (1, *size))
    # The smallest normal weights leave all tokens nearly alike.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    images = some_images(1, *size)
    found = grad_cam(model, images, LABELS).maps

    net = copy.deepcopy(model).eval()
    last, height, width = net.blocks[-1], size[0] // 2, size[1] // 2
    prefix = {"class_token": 0, "reg_tokens": 4}.get(next(iter(options), ""), 1)
    maps = []
    for image, label in zip(images, LABELS.tolist(), strict=True):
        tokens = net.blocks[:-1](net.norm_pre(net._pos_embed(net.patch_embed(image[None]))))
        normed = last.norm1(tokens)
        after = tokens + last.attn(normed)
        score = net.forward_head(net.norm(after + last.mlp(last.norm2(after))))[0, label]
        assert score.item() == pytest.approx(net(image[None])[0, label].item(), rel=1e-4)
        (gradient,) = torch.autograd.grad(score, normed)
        total = torch.zeros(height, width)
        for row in range(height):
            for column in range(width):
                token = prefix + row * width + column
                total[row, column] = (gradient[0, prefix:].mean(0) * normed[0, token]).sum().detach()
        maps.append(enlarged(total.clamp(min=0), size))
    assert_same_maps(found, torch.stack(maps))


class ChannelsLast(nn.Module):
    """Like timm's Swin: the map's channels are innermost, and the model says so."""

    output_fmt = "NHWC"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(1, 6, 3, stride=2)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.convolution(images).permute(0, 2, 3, 1)).mean((1, 2)))  # type: ignore[no-any-return]


def test_a_map_with_its_channels_innermost_is_turned_round() -> None:
    net, images = ChannelsLast(), some_images(1, 8, 12)

    def body(image: Tensor) -> Tensor:
        return net.norm(net.convolution(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    assert_same_maps(
        grad_cam(net, images, LABELS).maps, by_hand(body, lambda maps: net.head(maps.mean((2, 3))), images)
    )


class Twice(nn.Module):
    """Its last map comes of a module that is called twice, and the one before is overwritten in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 6, 3)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def rest(self, maps: Tensor) -> Tensor:
        maps = F.relu(maps.clone(), inplace=True)
        return self.head(self.again(self.again(maps)).mean((2, 3)))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.first(images), inplace=True)
        return self.head(self.again(self.again(maps)).mean((2, 3)))  # type: ignore[no-any-return]


def test_a_module_called_twice_is_passed_over_and_a_map_is_read_before_it_is_overwritten() -> None:
    net, images = Twice(), some_images(1, 8, 8)
    assert_same_maps(grad_cam(net, images, LABELS).maps, by_hand(net.first, net.rest, images))


def test_weights_of_other_precisions_are_read_as_float32() -> None:
    model = built(AllCNNConfig(width=4), (1, 8, 8)).bfloat16()
    images = some_images(1, 8, 8)
    found = grad_cam(model, images, LABELS).maps
    torch.testing.assert_close(found, grad_cam(copy.deepcopy(model).float(), images, LABELS).maps)
    assert next(model.parameters()).dtype == torch.bfloat16


def test_a_class_for_which_nothing_speaks_has_an_empty_map() -> None:
    model = built(AllCNNConfig(width=4), (1, 8, 8))
    with torch.no_grad():
        model.head.weight[0] = -model.head.weight[0].abs()
    found = grad_cam(model, some_images(1, 8, 8), LABELS).maps
    assert torch.equal(found[1], torch.zeros(8, 8))
    assert found[0].max() > 0.99


def test_the_model_and_the_images_stay_as_they_were() -> None:
    model = built(AllCNNConfig(width=4), (1, 8, 8)).train()
    model.features[0].eval()
    model.features[1].requires_grad_(False)
    model.head.bias.grad = torch.ones(3)
    modes = [module.training for module in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    weights = copy.deepcopy(model.state_dict())
    images = some_images(1, 8, 8)
    before = images.clone()
    grad_cam(model, images, LABELS)

    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert {name for name, each in model.named_parameters() if each.grad is not None} == {"head.bias"}
    assert torch.equal(model.head.bias.grad, torch.ones(3))
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(images, before)
    assert not images.requires_grad


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)  # type: ignore[no-any-return]


def other_transformer() -> nn.Module:
    """torchvision's: its tokens are laid out in a way of its own, and its only map is the patch embedding."""
    return VisionTransformer(
        image_size=8, patch_size=2, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=3
    )


@pytest.mark.parametrize(("build", "channels"), [(Perceptron, 1), (other_transformer, 3)])
def test_a_model_without_a_map_is_named(build: Callable[[], nn.Module], channels: int) -> None:
    model = build()
    with pytest.raises(MetricUnavailable, match=type(model).__name__):
        grad_cam(model, some_images(channels, 8, 8), LABELS)


def test_a_transformer_that_drops_tokens_is_named() -> None:
    model = built(TimmModel(arch="vit_tiny_patch16_224", options=VIT), (1, 8, 8))
    model.blocks[0].register_forward_hook(lambda module, inputs, output: output[:, :-2])
    with pytest.raises(MetricUnavailable, match="VisionTransformer has 14 patch tokens"):
        grad_cam(model, some_images(1, 8, 8), LABELS)


def test_no_images_and_numbers_that_are_none_are_unavailable() -> None:
    model = built(AllCNNConfig(width=4), (1, 8, 8))
    with pytest.raises(MetricUnavailable, match="no images"):
        grad_cam(model, torch.zeros(0, 1, 8, 8), LABELS[:0])
    with torch.no_grad():
        model.head.weight.fill_(float("nan"))
    with pytest.raises(MetricUnavailable, match="NaN"):
        grad_cam(model, some_images(1, 8, 8), LABELS)


def test_labels_must_be_one_for_each_image_and_known_to_the_model() -> None:
    model = built(AllCNNConfig(width=4), (1, 8, 8))
    with pytest.raises(ValueError, match="5 images and 3 labels"):
        grad_cam(model, some_images(1, 8, 8), LABELS[:3])
    with pytest.raises(IndexError):
        grad_cam(model, some_images(1, 8, 8), LABELS + 1)


def test_the_library_is_not_loaded_before_it_is_needed() -> None:
    """It takes seconds to load, and every command imports this module."""
    tree = ast.parse(Path(grad_cam_module.__file__).read_text())
    at_once = {node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
    assert at_once
    assert not any("pytorch_grad_cam" in ast.unparse(node) for node in at_once)
