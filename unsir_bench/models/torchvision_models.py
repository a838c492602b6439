"""ResNet18 (He et al. 2016) and MobileNetV2 (Sandler et al. 2018) of torchvision, also slim and for small images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from unsir_bench.config_fields import choice, not_hashed, number
from unsir_bench.errors import PretrainedWeightsError
from unsir_bench.models.model import ImageShape, ModelConfig


@dataclass
class ResNet18(ModelConfig):
    """torchvision's ResNet18.

    ``stem=imagenet`` keeps the 7x7 stride-2 convolution and the pooling; ``stem=cifar`` has a 3x3 convolution of stride
    1 and no pooling, as small images need. ``width`` is the number of filters of the first stage, 64 in the paper.
    """

    has_pretrained: ClassVar[bool] = True

    name: str = not_hashed("resnet18")
    stem: str = choice("imagenet", ("imagenet", "cifar"))
    width: int = number(64, at_least=1)

    def build(self, image_shape: ImageShape, num_classes: int) -> nn.Module:
        zoo = _zoo()
        if self.pretrained:
            _require_colour(image_shape)
            model = _with_imagenet_weights(zoo.resnet18, zoo.ResNet18_Weights.IMAGENET1K_V1, "resnet18")
            model.fc = nn.Linear(model.fc.in_features, num_classes)
        else:
            model = zoo.resnet18(num_classes=num_classes) if self.width == 64 else self._slim(num_classes)
        if self.stem == "cifar":
            model.conv1 = stem_convolution(image_shape[0], self.width, kernel=3, stride=1)
            model.maxpool = nn.Identity()
        elif image_shape[0] != 3:
            model.conv1 = stem_convolution(image_shape[0], self.width, kernel=7, stride=2)
        return model  # type: ignore[no-any-return]

    def _slim(self, num_classes: int) -> nn.Module:
        from unsir_bench.models._slim_resnet18 import SlimResNet18

        return SlimResNet18(self.width, num_classes)

    def statistics_of_weights(self) -> tuple[list[float], list[float]] | None:
        return _statistics(_zoo().ResNet18_Weights.IMAGENET1K_V1) if self.pretrained else None

    def head(self, model: nn.Module) -> nn.Module:
        return model.get_submodule("fc")

    def check(self, key: str) -> Iterator[str]:
        yield from super().check(key)
        if self.pretrained and (self.width != 64 or self.stem != "imagenet"):
            yield f"{key}.pretrained=true: torchvision's weights fit stem=imagenet and width=64 only"


def _zoo() -> Any:
    """torchvision's models, untyped: its annotations miss what its registry adds."""
    from torchvision import models  # seconds that other models need not pay

    return models


def stem_convolution(channels: int, width: int, kernel: int, stride: int) -> nn.Conv2d:
    """A first convolution with the weights that ResNet18 begins with, for any number of colour channels."""
    convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


@dataclass
class MobileNetV2(ModelConfig):
    """torchvision's MobileNetV2; ``width_mult`` scales its filters (1 in the paper).

    ``stem=cifar`` sets the stride of the first convolution and of the first strided stage to 1, as small images need.
    """

    has_pretrained: ClassVar[bool] = True

    name: str = not_hashed("mobilenetv2")
    # Depthwise convolutions are slower in channels-last on CPUs.
    channels_last: bool = not_hashed(False)
    stem: str = choice("imagenet", ("imagenet", "cifar"))
    width_mult: float = number(1.0, above=0)

    def build(self, image_shape: ImageShape, num_classes: int) -> nn.Module:
        zoo = _zoo()
        if self.pretrained:
            _require_colour(image_shape)
            model = _with_imagenet_weights(zoo.mobilenet_v2, zoo.MobileNet_V2_Weights.IMAGENET1K_V1, "mobilenet_v2")
            model.classifier[1] = nn.Linear(model.last_channel, num_classes)
        else:
            model = zoo.mobilenet_v2(num_classes=num_classes, width_mult=self.width_mult)
        if image_shape[0] != 3:
            model.features[0][0] = stem_convolution(image_shape[0], model.features[0][0].out_channels, 3, stride=2)
        if self.stem == "cifar":
            model.features[0][0].stride = (1, 1)
            model.features[2].conv[1][0].stride = (1, 1)
        return model  # type: ignore[no-any-return]

    def statistics_of_weights(self) -> tuple[list[float], list[float]] | None:
        return _statistics(_zoo().MobileNet_V2_Weights.IMAGENET1K_V1) if self.pretrained else None

    def head(self, model: nn.Module) -> nn.Module:
        return model.get_submodule("classifier.1")

    def check(self, key: str) -> Iterator[str]:
        yield from super().check(key)
        if self.pretrained and self.width_mult != 1.0:
            yield f"{key}.pretrained=true: torchvision's weights fit width_mult=1 only"


def _statistics(weights: Any) -> tuple[list[float], list[float]]:
    transforms = weights.transforms()
    return list(transforms.mean), list(transforms.std)


def _require_colour(image_shape: ImageShape) -> None:
    if image_shape[0] != 3:
        raise PretrainedWeightsError(
            f"model.pretrained=true: the weights are for 3 colour channels, the images have {image_shape[0]}; "
            "dataset.color=rgb repeats a grey channel three times"
        )


def _with_imagenet_weights(build: Any, weights: Any, name: str) -> Any:
    try:
        return build(weights=weights)
    except OSError as error:
        raise PretrainedWeightsError(
            f"model.pretrained=true: torchvision's weights of {name} cannot be downloaded ({error}).\n"
            "Use model.weights=FILE.safetensors for a local copy of the backbone, or model.pretrained=false."
        ) from error
