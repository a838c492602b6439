"""A frozen backbone under a head that is solved, not trained by steps: the setting of certified and exact forgetting.

Features are the backbone's penultimate ones, scaled to norm 1, as the certificates ask for (Guo et al. 2020). Heads are
float64. "Retrain" is retraining of the head on the retain samples.

``linearised`` keeps the backbone's own head, and adds what a change of its last layers' weights does to first order;
this change is what is solved (Golatkar et al. 2021, mixed-linear networks).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn import functional as F

from unsir_bench.config_fields import choice, hashed_if_not_default, not_hashed, number
from unsir_bench.errors import NotApplicable
from unsir_bench.models.last_layers import parameters_of_last_layers
from unsir_bench.models.model import ImageShape, ModelConfig

CLASSIFIERS = ("logistic", "ridge", "nearest_mean", "kmeans", "linearised")
TRAINED_ON = ("retain", "all", "weights")
# Sums of up to 2^22 multiples of this, each at most 1, are exact in float64, whatever their order.
FEATURE_STEP = 2.0**-30
ABSENT_CLASS = -30.0  # logit of a class without samples: never predicted, and its loss is finite


class LogisticHead(nn.Linear):
    """One-vs-rest logistic regression; ``perturbation`` (classes, dimensions) is the linear term of its objective."""

    perturbation: Tensor

    def __init__(self, dimensions: int, classes: int):
        super().__init__(dimensions, classes, dtype=torch.float64)
        self.register_buffer("perturbation", torch.zeros(classes, dimensions, dtype=torch.float64))


class NearestMeanHead(nn.Linear):
    """Logits -‖x - mean‖² / 2 + ‖x‖² / 2; keeps ``sums`` (classes, dimensions) and ``counts`` (classes) of features."""

    sums: Tensor
    counts: Tensor

    def __init__(self, dimensions: int, classes: int):
        super().__init__(dimensions, classes, dtype=torch.float64)
        self.register_buffer("sums", torch.zeros(classes, dimensions, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.float64))


class KMeansHead(nn.Module):
    """The log-shares of the classes in the cluster of the nearest centroid; keeps what deletion needs.

    Attributes:
        centroids: (clusters, dimensions).
        class_logits: (clusters, classes).
        phases, sums, counts: of each iteration: the lattice's phase (iterations, dimensions), the sum and the number of
            the samples of each cluster, (iterations, clusters, dimensions) and (iterations, clusters).
        course: quantised centroids before each iteration and after the last, (iterations + 1, clusters, dimensions).
        first: training-split indices of the samples that the centroids started from, (clusters,).
        class_counts: samples of each class in each cluster, (clusters, classes).
    """

    phases: Tensor
    sums: Tensor
    counts: Tensor
    course: Tensor
    first: Tensor
    class_counts: Tensor

    def __init__(self, dimensions: int, classes: int, clusters: int, iterations: int):
        super().__init__()
        empty = {
            "phases": (iterations, dimensions), "sums": (iterations, clusters, dimensions),
            "counts": (iterations, clusters), "course": (iterations + 1, clusters, dimensions),
            "first": (clusters,), "class_counts": (clusters, classes),
        }  # fmt: skip
        for name, shape in empty.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.centroids = nn.Parameter(torch.zeros(clusters, dimensions, dtype=torch.float64))
        self.class_logits = nn.Parameter(torch.zeros(clusters, classes, dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (batch, classes) of features (batch, dimensions)."""
        return self.class_logits[torch.cdist(features, self.centroids).argmin(dim=1)]


class FrozenHead(nn.Module):
    """A backbone that stays in eval mode, scaling to norm 1, and a float64 head."""

    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone, self.head = backbone, head
        self.backbone.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes), float32, of images (batch, channels, height, width)."""
        features = F.normalize(self.backbone(images).double(), dim=1)
        # A copy that reads all weights as float32, as Grad-CAM's, has a head of that kind.
        logits: Tensor = self.head(features.to(next(self.head.parameters()).dtype))
        return logits.float()

    def train(self, mode: bool = True) -> FrozenHead:
        super().train(mode)
        self.backbone.eval()
        return self


class LinearPart(nn.Module):
    """``change`` (weights,): of the parameters of a network's last layers, flattened one after another."""

    def __init__(self, weights: int):
        super().__init__()
        self.change = nn.Parameter(torch.zeros(weights, dtype=torch.float64))


class LinearisedNetwork(FrozenHead):
    """f(x) + ∇f(x)·w: a core network f that stays as it is, its derivatives for some parameters, and a solved w.

    Attributes:
        names: of the core's parameters that w changes to first order.
    """

    def __init__(self, core: nn.Module, names: list[str]):
        super().__init__(core, LinearPart(sum(core.get_parameter(name).numel() for name in names)))
        self.names = names

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        weights = [self.backbone.get_parameter(name) for name in self.names]
        change = self.head.get_parameter("change").to(images)
        pieces = change.split([weight.numel() for weight in weights])
        with_gradients = torch.is_grad_enabled()
        # Inference mode, in which models are evaluated, carries no derivatives.
        with torch.inference_mode(False), torch.set_grad_enabled(with_gradients), _dual_level():
            dual = {
                name: forward_ad.make_dual(weight, _ordinary(piece).view_as(weight))
                for name, weight, piece in zip(self.names, weights, pieces, strict=True)
            }
            logits, slope = forward_ad.unpack_dual(functional_call(self.backbone, dual, (_ordinary(images),)))
            return logits + slope  # type: ignore[no-any-return]


@contextmanager
def _dual_level() -> Iterator[None]:
    """Forward-mode derivatives; torch's first use of them warns of a deprecated part of its own."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
        yield


def _ordinary(tensor: Tensor) -> Tensor:
    """The tensor itself, or a copy where it was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


def head_inputs(backbone_outputs: Tensor) -> Tensor:
    """What heads are solved on: features of norm 1 at most, float64, in steps of ``FEATURE_STEP`` towards 0.

    Args:
        backbone_outputs: (samples, dimensions).
    """
    scaled = F.normalize(backbone_outputs.double(), dim=1)
    return (scaled / FEATURE_STEP).trunc() * FEATURE_STEP


@dataclass
class FrozenHeadConfig(ModelConfig):
    """A frozen backbone and a head that is solved in float64.

    Attributes:
        backbone: the network whose penultimate features are used; its own head is left out, unless it is linearised.
        trained_on: ``retain``: the backbone is the retrained model of the same forget set and seed, so that a
            certificate of the head covers it; ``all``: the original, which saw the forget samples; ``weights``: nothing
            is trained, the backbone has its file's or its library's weights.
        classifier: the head; ``linearised``: a first-order change of the backbone's last layers, its own head included.
        l2: strength of the head's regulariser, l2 / 2 times the squared norm of the weights, beside the sum of the
            losses; n times the lambda of Guo et al.
        perturbation: standard deviation of the Gaussian linear term in the logistic head's objective (Guo et al.);
            no effect on another head.
        clusters, iterations, quantum, balance: of quantised k-means (Ginart et al. 2019): the lattice's step, and the
            share of the mean cluster size below which a cluster's centroid moves less.
        layers: last weight layers that are linearised; no effect on another head.
    """

    has_pretrained: ClassVar[bool] = True  # those of the backbone; `check` says where to ask for them

    name: str = not_hashed("frozen_head")
    backbone: ModelConfig = field(default=cast("ModelConfig", "???"))
    trained_on: str = choice("retain", TRAINED_ON)
    classifier: str = choice("logistic", CLASSIFIERS)
    l2: float = number(1.0, above=0)
    perturbation: float = number(0.0, at_least=0)
    clusters: int = number(30, at_least=1)
    iterations: int = number(5, at_least=1)
    quantum: float = number(0.05, above=0)
    balance: float = number(0.2, at_least=0, at_most=1)
    layers: int = hashed_if_not_default(number(2, at_least=1))

    def build(self, image_shape: ImageShape, num_classes: int) -> nn.Module:
        return self._with_head(self.backbone.build(image_shape, num_classes), num_classes)

    def initial(self, image_shape: ImageShape, num_classes: int, seed: int) -> nn.Module:
        return self._with_head(self.backbone.initial(image_shape, num_classes, seed), num_classes)

    def head(self, model: nn.Module) -> nn.Module:
        """The solved head; of a linearised network the backbone's own, which receives the penultimate features."""
        if self.classifier == "linearised":
            return self.backbone.head(model.get_submodule("backbone"))
        return model.get_submodule("head")

    def linear_head(self, model: nn.Module) -> nn.Linear:
        if self.classifier == "linearised":
            raise NotApplicable(f"model '{self.name}' is linearised: no single linear layer gives its logits")
        return super().linear_head(model)

    @property
    def frozen_backbone(self) -> bool:
        return True

    def statistics_of_weights(self) -> tuple[list[float], list[float]] | None:
        return self.backbone.statistics_of_weights()

    def untrained(self) -> ModelConfig:
        return replace(self, backbone=self.backbone.untrained())  # its own weights are the backbone's

    def parameter_groups(self, model: nn.Module, lr: float) -> list[dict[str, Any]]:
        """The head alone: whatever trains leaves the backbone as it is."""
        return [{"params": list(model.get_submodule("head").parameters()), "lr": lr}]

    def check(self, key: str) -> Iterator[str]:
        yield from super().check(key)
        if self.weights is not None or self.pretrained:
            yield f"{key}.weights, {key}.pretrained: are the backbone's; set {key}.backbone.weights or .pretrained"
        for name, default in (("norm", "batch"), ("backbone_lr_scale", 1.0)):
            if (own := getattr(self, name)) != default:
                yield f"{key}.{name}={own}: nothing but the head is solved; set {key}.backbone.{name}={own} instead"
        given = self.backbone.weights is not None or self.backbone.pretrained
        if self.trained_on == "weights" and not given:
            yield f"{key}.trained_on=weights: needs {key}.backbone.weights=FILE or {key}.backbone.pretrained=true"

    def _with_head(self, network: nn.Module, num_classes: int) -> FrozenHead:
        if self.classifier == "linearised":
            return LinearisedNetwork(network, parameters_of_last_layers(network, self.layers))
        own = self.backbone.linear_head(network)
        name = next(name for name, module in network.named_modules() if module is own)
        network.set_submodule(name, nn.Identity())
        return FrozenHead(network, self._empty_head(own.in_features, num_classes))

    def _empty_head(self, dimensions: int, classes: int) -> nn.Module:
        if self.classifier == "kmeans":
            return KMeansHead(dimensions, classes, self.clusters, self.iterations)
        kinds = {"logistic": LogisticHead, "nearest_mean": NearestMeanHead}
        if self.classifier in kinds:
            head: nn.Linear = kinds[self.classifier](dimensions, classes)
        else:
            head = nn.Linear(dimensions, classes, dtype=torch.float64)
        nn.init.zeros_(head.bias)
        return head


def load_backbone_of(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give ``model`` the backbone of a trained network, without its head unless ``model`` has a place for it.

    Args:
        model: a ``FrozenHead``, changed in place.
        weights: state dict of the network that the backbone was built as.
    """
    backbone = model.get_submodule("backbone")
    backbone.load_state_dict({name: weights[name] for name in backbone.state_dict()})
