"""The networks: heads, rates, initial weights and widths of all, AllCNN as in the paper, options that do not fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from torch import Tensor, nn

from unsir_bench.config_fields import problems
from unsir_bench.errors import ConfigError
from unsir_bench.models.allcnn import AllCNN, AllCNNConfig
from unsir_bench.models.frozen_head import FrozenHeadConfig
from unsir_bench.models.model import ImageShape, ModelConfig, has_finite_weights, replace_batch_norms, state_to_cpu
from unsir_bench.models.timm_models import TimmModel
from unsir_bench.models.torchvision_models import MobileNetV2, ResNet18

TINY_VIT = {"patch_size": 4, "depth": 1, "embed_dim": 12, "num_heads": 3}
CONFIGS: dict[str, Callable[..., ModelConfig]] = {
    "allcnn": lambda **k: AllCNNConfig(width=4, **k),
    "resnet18": lambda **k: ResNet18(width=4, **k),
    "resnet18-cifar": lambda **k: ResNet18(width=4, stem="cifar", **k),
    "mobilenetv2": lambda **k: MobileNetV2(width_mult=0.1, **k),
    "mobilenetv2-cifar": lambda **k: MobileNetV2(width_mult=0.1, stem="cifar", **k),
    "timm-convnet": lambda **k: TimmModel(arch="test_resnet", **k),
    "timm-vit": lambda **k: TimmModel(arch="vit_tiny_patch16_224", options=dict(TINY_VIT), **k),
}
every_config = pytest.mark.parametrize("make", CONFIGS.values(), ids=CONFIGS)
GREY: ImageShape = (1, 8, 8)


def batch(shape: ImageShape, count: int = 2) -> Tensor:
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(0))


def test_each_registered_model_has_a_case_here() -> None:
    registered = ConfigStore.instance().repo["schema"]["model"].values()
    trained = {OmegaConf.get_type(entry.node) for entry in registered} - {
        FrozenHeadConfig
    }  # its heads are solved: tests/test_frozen_heads.py
    assert {type(make()) for make in CONFIGS.values()} == trained


@every_config
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 32])
def test_the_head_makes_the_logits_of_any_image_shape(
    make: Callable[..., ModelConfig], channels: int, size: int
) -> None:
    config = make()
    model = config.initial((channels, size, size), 7, seed=0).eval()
    seen: list[Tensor] = []
    config.head(model).register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    logits = model(batch((channels, size, size)))
    assert logits.shape == (2, 7)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], logits, rtol=0, atol=0)


@every_config
def test_every_architecture_trains_on_a_batch_of_two(make: Callable[..., ModelConfig]) -> None:
    model = make().initial((3, 32, 32), 3, seed=0).train()
    model(batch((3, 32, 32))).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@every_config
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_every_parameter_is_in_exactly_one_group_at_its_rate(make: Callable[..., ModelConfig], scale: float) -> None:
    config = make(backbone_lr_scale=scale)
    model = config.initial(GREY, 5, seed=0)
    groups = config.parameter_groups(model, lr=0.8)
    rates = [(id(parameter), group["lr"]) for group in groups for parameter in group["params"]]
    head = {id(parameter) for parameter in config.head(model).parameters()}
    assert len(rates) == len(dict(rates)) == len(list(model.parameters()))
    assert [*config.trained_parameters(model)] == [name for name, _ in model.named_parameters()]
    assert {rate for key, rate in rates if key in head} == {0.8}
    assert {rate for key, rate in rates if key not in head} == {0.8 * scale}


@every_config
def test_initial_weights_depend_on_the_seed_alone(make: Callable[..., ModelConfig]) -> None:
    first = make().initial(GREY, 5, seed=3).state_dict()
    torch.manual_seed(99)
    again = make().initial(GREY, 5, seed=3).state_dict()
    other = make().initial(GREY, 5, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    weights = [name for name in first if first[name].ndim > 1]
    assert all(not torch.equal(first[name], other[name]) for name in weights if first[name].std() > 0)


def convolve(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Cross-correlation with zero padding of half the kernel, position by position."""
    half = kernel.shape[-1] // 2
    padded = np.pad(image, [(0, 0), (half, half), (half, half)])
    height, width = (-(-side // stride) for side in image.shape[1:])
    result = np.zeros((len(kernel), height, width))
    for row in range(height):
        for column in range(width):
            top, left = row * stride, column * stride
            patch = padded[:, top : top + kernel.shape[2], left : left + kernel.shape[3]]
            result[:, row, column] = (kernel * patch).sum(axis=(1, 2, 3))
    return result


def all_cnn_c(image: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    """The paper's All-CNN-C: its last layer is a 1x1 convolution to the classes, averaged over positions."""
    for layer, stride in enumerate([1, 1, 2, 1, 1, 2, 1, 1]):
        convolved = convolve(image, state[f"features.{layer}.0.weight"], stride)
        norm = {
            name: state[f"features.{layer}.1.{name}"][:, None, None]
            for name in ("weight", "bias", "running_mean", "running_var")
        }
        scaled = (convolved - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5)
        image = np.maximum(scaled * norm["weight"] + norm["bias"], 0)
    logits = convolve(image, state["head.weight"][:, :, None, None], 1) + state["head.bias"][:, None, None]
    return logits.mean(axis=(1, 2))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7)])
def test_allcnn_computes_the_papers_network(shape: ImageShape) -> None:
    torch.manual_seed(0)
    model = AllCNN(shape[0], num_classes=3, width=2).double()
    images = torch.randn((4, *shape), dtype=torch.float64)
    model.train()(images)  # moves the running statistics off 0 and 1
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    expected = np.stack([all_cnn_c(image.numpy(), state) for image in images])
    np.testing.assert_allclose(model.eval()(images).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_full_width_resnet18_is_torchvisions_own_bit_for_bit() -> None:
    torch.manual_seed(11)
    ours = ResNet18().build((3, 32, 32), 10).state_dict()
    torch.manual_seed(11)
    theirs = torchvision.models.resnet18(num_classes=10).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("width", [16, 20])
def test_a_slim_resnet18_scales_every_stage(width: int) -> None:
    slim = ResNet18(width=width).build((3, 32, 32), 10)
    with torch.device("meta"):
        full = torchvision.models.resnet18(num_classes=10)
    sizes = {name: module.out_channels for name, module in full.named_modules() if isinstance(module, nn.Conv2d)}
    slim_sizes = {name: module.out_channels for name, module in slim.named_modules() if isinstance(module, nn.Conv2d)}
    assert slim_sizes == {name: size * width // 64 for name, size in sizes.items()}
    assert isinstance(slim.fc, nn.Linear)
    assert (slim.fc.in_features, slim.fc.out_features) == (8 * width, 10)


@pytest.mark.parametrize(
    ("config", "layer", "side"),
    [
        (ResNet18(width=4), "layer1", 8),
        (ResNet18(width=4, stem="cifar"), "layer1", 32),
        (MobileNetV2(width_mult=0.1), "features.2", 8),
        (MobileNetV2(width_mult=0.1, stem="cifar"), "features.2", 32),
    ],
)
def test_the_small_stem_keeps_the_resolution(config: ModelConfig, layer: str, side: int) -> None:
    model = config.initial((3, 32, 32), 10, seed=0).eval()
    shapes: list[torch.Size] = []
    model.get_submodule(layer).register_forward_hook(lambda _m, _i, output: shapes.append(output.shape))
    model(batch((3, 32, 32)))
    assert shapes[0][-2:] == (side, side)


@pytest.mark.parametrize(
    ("config", "needs"),
    [
        (ResNet18(pretrained=True, width=16), "stem=imagenet and width=64"),
        (ResNet18(pretrained=True, stem="cifar"), "stem=imagenet and width=64"),
        (MobileNetV2(pretrained=True, width_mult=0.5), "width_mult=1"),
        (ResNet18(stem="small"), "model.stem=small: must be one of imagenet, cifar"),
        (
            AllCNNConfig(pretrained=True),
            "model=allcnn has no pretrained weights; give model.weights=FILE",
        ),
        (AllCNNConfig(width=0), "model.width=0: must be at least 1"),
        (AllCNNConfig(backbone_lr_scale=0), "model.backbone_lr_scale=0: must be above 0"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_any_work(config: ModelConfig, needs: str) -> None:
    [problem] = problems(config, "model")
    assert needs in problem


def test_an_unknown_timm_name_suggests_the_nearest() -> None:
    [problem] = problems(TimmModel(arch="resnet10tt"), "model")
    assert "model.arch=resnet10tt" in problem
    assert "resnet10t" in problem.split("did you mean")[1]


def test_a_timm_name_with_a_weights_tag_is_known() -> None:
    assert not list(problems(TimmModel(arch="resnet18.a1_in1k"), "model"))


@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", "test_resnet"])
def test_options_that_timm_does_not_know_are_named(arch: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.options=\{{'colour': 3\}}: timm's {arch} refuses them.*colour"):
        TimmModel(arch=arch, options={"colour": 3}).initial(GREY, 10, seed=0)


def test_a_batch_normalisation_that_is_not_replaced_is_named() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.BatchNorm1d(4))
    with pytest.raises(ConfigError, match=r"model\.norm=group: cannot replace 3 \(BatchNorm1d\), which mixes samples"):
        replace_batch_norms(network)


@pytest.mark.parametrize("where", ["weight", "running_mean"])
def test_a_nan_in_a_weight_or_a_buffer_is_seen(where: str) -> None:
    model = nn.BatchNorm1d(4)
    assert has_finite_weights(model)
    with torch.no_grad():
        getattr(model, where)[2] = float("nan")
    assert not has_finite_weights(model)


def test_a_state_on_the_cpu_is_a_copy() -> None:
    model = nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last)
    state = state_to_cpu(model)
    before = state["weight"].clone()
    nn.init.zeros_(model.weight)
    assert torch.equal(state["weight"], before)
    assert state["weight"].is_contiguous()
