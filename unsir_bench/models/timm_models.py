"""Any model of timm by name; a small vision transformer is the preset `model=vit`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from unsir_bench.config_fields import nearest, not_hashed
from unsir_bench.errors import ConfigError, PretrainedWeightsError
from unsir_bench.models.model import ImageShape, ModelConfig


def _timm() -> Any:
    """The timm module, told not to log each model it creates."""
    import timm  # slow to import, and only needed here

    logging.getLogger("timm").setLevel(logging.WARNING)
    return timm


@dataclass
class TimmModel(ModelConfig):
    """A timm model.

    ``arch`` is its name in ``timm.list_models()``; ``options`` are passed to its constructor, for example
    ``patch_size`` and ``depth`` of a vision transformer. Transformers that fix the image size get the data set's.
    """

    name: str = not_hashed("timm")
    channels_last: bool = not_hashed(False)
    arch: str = "???"
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, image_shape: ImageShape, num_classes: int) -> nn.Module:
        try:
            return self._create(image_shape, num_classes)
        except TypeError as error:
            raise ConfigError([f"model.options={self.options}: timm's {self.arch} refuses them: {error}"]) from error
        except Exception as error:
            if not self.pretrained:
                raise
            raise PretrainedWeightsError(
                f"model.pretrained=true: timm's weights of {self.arch} cannot be reached or do not fit "
                f"images of {image_shape} ({type(error).__name__}: {error}).\n"
                "Use model.weights=FILE.safetensors for a local copy of the backbone, or model.pretrained=false."
            ) from error

    def _create(self, image_shape: ImageShape, num_classes: int) -> nn.Module:
        create: Callable[..., nn.Module] = _timm().create_model
        arguments = {
            "in_chans": image_shape[0],
            "num_classes": num_classes,
            "pretrained": self.pretrained,
            **self.options,
        }
        try:
            return create(self.arch, **{"img_size": image_shape[1:], **arguments})
        except TypeError as error:
            # Transformers need the size; convolutional networks take any size and lack the argument.
            if "img_size" not in str(error):
                raise
            return create(self.arch, **arguments)

    def head(self, model: nn.Module) -> nn.Module:
        return model.get_classifier()  # type: ignore[operator,no-any-return]

    def check(self, key: str) -> Iterator[str]:
        timm = _timm()
        yield from super().check(key)
        if not timm.is_model(self.arch.split(".")[0]):
            close = nearest(self.arch, timm.list_models())
            yield f"{key}.arch={self.arch}: timm has no such model; did you mean {close}?"
