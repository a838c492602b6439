"""The contract of a model: a config node that builds a network for a data set and knows its head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unsir_bench.config_fields import choice, hashed_if_not_default, not_hashed, number
from unsir_bench.errors import ConfigError, NotApplicable, PretrainedWeightsError
from unsir_bench.models.checkpoint_files import SHOWN, misfits
from unsir_bench.models.cpu_kernels import with_cpu_kernels
from unsir_bench.runtime.files import path_problem, sha256_of_file
from unsir_bench.runtime.seeding import seed_everything

ImageShape = tuple[int, int, int]


@dataclass
class ModelConfig(ABC):
    """Options that every model shares; a model adds its own and says how it is built.

    ``norm=group`` replaces batch by group normalisation, so that no sample's logits depend on another sample.

    Attributes:
        has_pretrained: whether ``build`` loads weights from elsewhere where ``pretrained`` is set; else it is refused.
    """

    has_pretrained: ClassVar[bool] = False

    name: str = not_hashed("???")
    pretrained: bool = False
    weights: str | None = not_hashed(None)
    backbone_lr_scale: float = number(1.0, above=0)
    channels_last: bool = not_hashed(True)
    cpu_threads: int | None = not_hashed(number(None, at_least=1))
    norm: str = hashed_if_not_default(choice("batch", ("batch", "group")))

    @abstractmethod
    def build(self, image_shape: ImageShape, num_classes: int) -> nn.Module:
        """A network from image batches to logits, freshly initialised from torch's global generator.

        Raises:
            PretrainedWeightsError: weights were asked for and cannot be reached or do not fit.
        """

    @abstractmethod
    def head(self, model: nn.Module) -> nn.Module:
        """The module that computes the logits: the classifier, not the backbone."""

    def statistics_of_weights(self) -> tuple[list[float], list[float]] | None:
        """Mean and std by channel, of pixel values in [0, 1], of the pretrained weights' own data; None without such.

        Raises:
            ConfigError: the weights' configuration cannot be reached.
        """
        return None

    def linear_head(self, model: nn.Module) -> nn.Linear:
        """The head as a linear layer, for methods that change single rows of it.

        Raises:
            NotApplicable: the head is not a linear layer with a bias.
        """
        head = self.head(model)
        if not isinstance(head, nn.Linear) or head.bias is None:
            raise NotApplicable(f"model '{self.name}' ends in {type(head).__name__}, not in a linear layer with a bias")
        return head

    def initial(self, image_shape: ImageShape, num_classes: int, seed: int) -> nn.Module:
        """The network with the initial weights of ``seed``, on the CPU.

        Side effect: seeds the global generators; reseed them afterwards.
        """
        seed_everything(seed, "initial weights")
        model = with_cpu_kernels(self.build(image_shape, num_classes))
        if self.norm == "group":
            replace_batch_norms(model)
        if self.weights is not None:
            load_backbone(model, self.head(model), Path(self.weights))
        return model

    def content_identity(self) -> str | None:
        """Hash of the file of ``weights``, or None."""
        if self.weights is None or path_problem(Path(self.weights), "file"):
            return None
        return sha256_of_file(Path(self.weights).resolve())[:16]

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        if self.weights is not None and (complaint := path_problem(Path(self.weights), "file")):
            yield f"{key}.weights={self.weights}: {complaint}; give a local .safetensors file"
        elif self.weights is not None and Path(self.weights).suffix != ".safetensors":
            yield f"{key}.weights={self.weights}: only .safetensors files are read (a pickle could run code)"
        if self.pretrained and not self.has_pretrained:
            yield f"{key}.pretrained=true: {key}={self.name} has no pretrained weights; give {key}.weights=FILE"
        if self.weights is not None and self.pretrained:
            yield f"{key}.pretrained=true and {key}.weights={self.weights}: choose one of the two"
        if self.norm == "group" and self.pretrained:
            yield f"{key}.norm=group and {key}.pretrained=true: the pretrained normalisation would be lost; choose one"

    @property
    def frozen_backbone(self) -> bool:
        """Whether nothing below the head is ever trained."""
        return False

    def untrained(self) -> ModelConfig:
        """The same network without weights from elsewhere."""
        return replace(self, pretrained=False, weights=None)

    def parameter_groups(self, model: nn.Module, lr: float) -> list[dict[str, Any]]:
        """Optimiser groups: the head at ``lr``, the backbone at ``lr * backbone_lr_scale``."""
        if self.backbone_lr_scale == 1.0:
            return [{"params": list(model.parameters()), "lr": lr}]
        head = {id(parameter) for parameter in self.head(model).parameters()}
        backbone = [parameter for parameter in model.parameters() if id(parameter) not in head]
        return [
            {"params": backbone, "lr": lr * self.backbone_lr_scale},
            {"params": list(self.head(model).parameters()), "lr": lr},
        ]

    def trained_parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """What a training moves, by name, in the model's order: all parameters, or those of a solved head alone."""
        moved = {id(parameter) for group in self.parameter_groups(model, 1.0) for parameter in group["params"]}
        return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in moved}


def replace_batch_norms(model: nn.Module) -> None:
    """Put group normalisation (Wu and He 2018) in the place of every batch normalisation, as DP-SGD needs.

    Raises:
        ConfigError: there is one of another kind than of images.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            channels = module.num_features
            # Groups of four channels at least: a group of a single value would come out as 0.
            groups = next(count for count in (32, 16, 8, 4, 2, 1) if channels % (4 * count) == 0 or count == 1)
            norm: nn.Module = nn.GroupNorm(groups, channels, eps=module.eps)
            if hasattr(module, "act"):  # timm's normalisations may hold what follows them
                norm = nn.Sequential(norm, module.get_submodule("drop"), module.get_submodule("act"))
            model.set_submodule(name, norm)
    left = [f"{name} ({type(each).__name__})" for name, each in model.named_modules() if isinstance(each, _BatchNorm)]
    if left:
        raise ConfigError([f"model.norm=group: cannot replace {left[0]}, which mixes samples; choose another model"])


def load_backbone(model: nn.Module, head: nn.Module, path: Path) -> None:
    """Load a safetensors file into ``model``; only the head may have another shape, and then keeps its initial weights.

    Raises:
        PretrainedWeightsError: the file is unreadable, or a backbone tensor is missing, of another shape or left over,
            or one that is loaded is not finite; the message names it.
    """
    try:
        stored = load_file(path)
    except Exception as error:  # safetensors raises its own kind for a damaged file
        raise PretrainedWeightsError(f"model.weights={path}: cannot be read as safetensors ({error})") from error
    own = model.state_dict()
    in_head = _state_names_within(model, head)
    fitting = {name: value for name, value in stored.items() if name in own and own[name].shape == value.shape}
    expected = {name: value for name, value in own.items() if name in fitting or name not in in_head}
    # Weights of a deeper network of the same family fit every tensor of this one; only left-over tensors reveal them.
    parts = {name.partition(".")[0] for name in own if name not in in_head}
    given = {name: value for name, value in stored.items() if name in expected or _left_over(name, own, parts)}
    if wrong := misfits(given, expected):
        shown = "; ".join(wrong[:SHOWN]) + (f"; … {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")
        raise PretrainedWeightsError(f"model.weights={path}: does not fit the model: {shown}")
    model.load_state_dict({**own, **fitting})


def _left_over(name: str, own: Mapping[str, Tensor], parts: Collection[str]) -> bool:
    """Whether a tensor of a file belongs to a part of the network that has no place for it."""
    return name not in own and name.partition(".")[0] in parts


def _state_names_within(model: nn.Module, head: nn.Module) -> set[str]:
    prefix = next(name for name, module in model.named_modules() if module is head)
    return {name for name in model.state_dict() if name.startswith(f"{prefix}.")}


@contextmanager
def frozen(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Parameters without gradients, the model in train or eval mode; both are restored afterwards."""
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        with in_mode(model, training=training):
            yield
    finally:
        for parameter, grad in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(grad)


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """The model in train or eval mode; the mode of each of its modules is restored afterwards."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


def state_to_cpu(model: nn.Module) -> dict[str, Tensor]:
    """A detached copy of the state dict on the CPU, contiguous as safetensors demands."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}


def has_finite_weights(model: nn.Module) -> bool:
    """Whether no weight or buffer is NaN or infinite."""
    return all(bool(torch.isfinite(value).all()) for value in model.state_dict().values() if value.is_floating_point())


def is_weight_layer(module: nn.Module) -> bool:
    """Whether a module has a weight of two or more dimensions of its own."""
    own = module.named_parameters(recurse=False)
    # Attention calls its matrix `in_proj_weight`; tokens and positions have dimensions too, but are no layer.
    return any(name.endswith("weight") and parameter.ndim >= 2 for name, parameter in own)
