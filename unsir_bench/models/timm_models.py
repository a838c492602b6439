"""Any model of timm by name; a small vision transformer is the preset `model=vit`."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unsir_bench.config_fields import nearest, not_hashed
from unsir_bench.errors import ConfigError, PretrainedWeightsError
from unsir_bench.models.model import ImageShape, ModelConfig, in_mode
from unsir_bench.runtime.files import path_problem, sha256_of_file

ELSEWHERE = ("hf-hub:", "hf_hub:", "local-dir:")  # where timm finds a model that it does not list
_WEIGHTS = "give {key}.weights=FILE.safetensors, whose content a run id knows"
# Arguments of timm that are no options: weights that no id would know, or what the run and the data set decide.
NO_OPTIONS = {
    "pretrained": "set {key}.pretrained=true",
    "checkpoint_path": _WEIGHTS,
    "pretrained_cfg": _WEIGHTS,
    "pretrained_cfg_overlay": _WEIGHTS,
    "num_classes": "the data set says how many classes there are",
    "in_chans": "the data set says it; dataset.color=rgb makes grey images three channels",
    "features_only": "such a model has no classifier",
}


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

    has_pretrained: ClassVar[bool] = True

    name: str = not_hashed("timm")
    channels_last: bool = not_hashed(False)
    arch: str = "???"
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, image_shape: ImageShape, num_classes: int) -> nn.Module:
        """See ``ModelConfig.build``.

        Raises:
            ConfigError: timm refuses the options or the size of the images, or the head is not one layer of logits.
        """
        try:
            model = self._create(image_shape, num_classes)
        except TypeError as error:
            raise ConfigError([f"model.options={self.options}: timm's {self.arch} refuses them: {error}"]) from error
        except Exception as error:
            if self.pretrained:
                raise PretrainedWeightsError(
                    f"model.pretrained=true: timm's weights of {self.arch} cannot be reached or do not fit "
                    f"images of {image_shape} ({type(error).__name__}: {error}).\n"
                    "Use model.weights=FILE.safetensors for a local copy of the backbone, or model.pretrained=false."
                ) from error
            raise ConfigError(
                [f"model.arch={self.arch}: timm cannot build it for {_words(image_shape, error)}"]
            ) from error
        self._try_out(model, image_shape, num_classes)
        return model

    def _try_out(self, model: nn.Module, image_shape: ImageShape, num_classes: int) -> None:
        """Refuse a network that cannot be trained and measured, before any training: show it one grey image."""
        try:
            head = self.head(model)
        except AttributeError:
            raise ConfigError([f"model.arch={self.arch}: it has no classifier; choose another"]) from None
        if not isinstance(head, nn.Module):
            raise ConfigError(
                [f"model.arch={self.arch}: its head is in several parts; choose a model with one classifier"]
            )
        seen: list[Tensor] = []
        hook = head.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad(), in_mode(model, training=False):
                logits = model(torch.zeros(1, *image_shape))
        except Exception as error:
            raise ConfigError([f"model.arch={self.arch}: it cannot read {_words(image_shape, error)}"]) from error
        finally:
            hook.remove()
        if not isinstance(logits, Tensor) or logits.shape != (1, num_classes):
            raise ConfigError([f"model.arch={self.arch}: it does not give one logit for each class; choose another"])
        if len(seen) != 1 or not torch.equal(seen[0].flatten(1), logits):
            raise ConfigError([
                f"model.arch={self.arch}: its logits are not its classifier's output alone (a second head, as in "
                "distilled models, or a scale); choose a model with one classifier"
            ])  # fmt: skip

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

    def statistics_of_weights(self) -> tuple[list[float], list[float]] | None:
        if not self.pretrained:
            return None
        try:
            found = self._configuration_of_weights()
            return list(found["mean"]), list(found["std"])
        except Exception as error:  # timm and its hub client raise their own kinds
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ConfigError([
                f"dataset.normalisation=weights: the configuration of the weights of {self.arch} cannot be read "
                f"({reason}); set dataset.normalisation=dataset with dataset.mean and dataset.std"
            ]) from error  # fmt: skip

    def _configuration_of_weights(self) -> Mapping[str, Any]:
        from timm.models import get_pretrained_cfg, load_model_config_from_hf

        place, _, name = self.arch.partition(":")
        if place == "local-dir":
            content = json.loads((Path(name) / "config.json").read_text(encoding="utf-8"))
            return dict(content.get("pretrained_cfg", content))  # older files are flat
        if place in ("hf-hub", "hf_hub"):
            return dict(load_model_config_from_hf(name)[0])
        known = get_pretrained_cfg(self.arch)
        return dict(known.to_dict()) if known else {}

    def content_identity(self) -> str | None:
        """Hash of the file of ``weights``, of the folder that ``arch`` names, of both, or None."""
        of_weights = super().content_identity()
        place, _, folder = self.arch.partition(":")
        if place != "local-dir" or path_problem(Path(folder), "folder"):
            return of_weights
        digest = hashlib.sha256()
        for path in sorted(path for path in Path(folder).iterdir() if path.is_file()):
            # Resolved: in a snapshot of Hugging Face every file is a link.
            digest.update(f"{path.name} {sha256_of_file(path.resolve())}".encode())
        digest.update((of_weights or "").encode())
        return digest.hexdigest()[:16]

    def head(self, model: nn.Module) -> nn.Module:
        return model.get_classifier()  # type: ignore[operator,no-any-return]

    def check(self, key: str) -> Iterator[str]:
        timm = _timm()
        yield from super().check(key)
        for name in sorted(self.options.keys() & NO_OPTIONS.keys()):
            yield f"{key}.options.{name}={self.options[name]}: is no option; {NO_OPTIONS[name].format(key=key)}"
        if self.arch.startswith(ELSEWHERE):
            return
        family, _, tag = self.arch.partition(".")
        if tag and timm.is_model(family):
            known = [name.partition(".")[2] for name in timm.list_models(f"{family}.*", pretrained=True)]
            if tag not in known:
                yield f"{key}.arch={self.arch}: timm has no weights with this tag; {_known_tags(family, known)}"
        elif not timm.is_model(family):
            close = nearest(self.arch, timm.list_models())
            yield f"{key}.arch={self.arch}: timm has no such model; did you mean {close}?"


def _known_tags(family: str, tags: Sequence[str]) -> str:
    return f"write {family}" + (f", or one of the tags {', '.join(tags)} after it" if tags else "; it has none")


def _words(image_shape: ImageShape, error: Exception) -> str:
    channels, height, width = image_shape
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return (
        f"images of {channels}x{height}x{width} ({reason}); "
        "set dataset.image_size to a size that suits it, or choose another model"
    )
