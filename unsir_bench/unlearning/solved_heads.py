"""What methods for heads on a frozen backbone share: which heads they are for, their samples, the backbone's share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from torch import Tensor, nn

from unsir_bench.data.batches import DataView
from unsir_bench.errors import NotApplicable
from unsir_bench.models.frozen_head import FrozenHeadConfig, head_inputs
from unsir_bench.training.convex_heads import targets_of
from unsir_bench.training.inference import predict
from unsir_bench.unlearning.method import UnlearningMethod

if TYPE_CHECKING:
    from unsir_bench.models.model import ModelConfig
    from unsir_bench.training.context import RunContext

COVERED = {"retain": 1, "all": 0, "weights": None}  # what the weights were trained on is not known here


@dataclass(frozen=True)
class HeadSamples:
    """Samples as a head sees them, on the CPU.

    Attributes:
        inputs: float64 of shape (samples, dimensions), of norm 1 at most.
        labels: (samples,).
        indices: of the samples in the training split.
    """

    inputs: Tensor
    labels: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def targets(self, classes: int) -> Tensor:
        """One-hot targets (samples, classes), float64."""
        return targets_of(self.labels, classes)


@dataclass
class SolvedHeadMethod(UnlearningMethod):
    """A method for ``model=frozen_head``; with any other network, or another head, its runs are ``skipped``.

    Attributes:
        classifiers: the heads that it is for.
    """

    classifiers: ClassVar[tuple[str, ...]] = ()

    def unsuitable(self, architecture: ModelConfig) -> str | None:
        wanted = f"needs model=frozen_head with model.classifier={' or '.join(self.classifiers)}"
        if not isinstance(architecture, FrozenHeadConfig):
            return (
                f"method '{self.name}' {wanted}; model '{architecture.name}' has a head without a convex objective, "
                "since it is trained together with the layers below"
            )
        if architecture.classifier not in self.classifiers:
            return f"method '{self.name}' {wanted}; here it is {architecture.classifier}"
        return None

    def head_of(self, model: nn.Module, context: RunContext) -> tuple[nn.Module, FrozenHeadConfig]:
        """The head, on the CPU, and the model's config node; states whether the guarantees cover the backbone.

        Raises:
            NotApplicable: the model is none that the method is for.
        """
        if (reason := self.unsuitable(context.architecture)) is not None:
            raise NotApplicable(reason)
        architecture = cast("FrozenHeadConfig", context.architecture)
        context.guarantee(covers_backbone=COVERED[architecture.trained_on])
        return model.get_submodule("head").cpu(), architecture


def head_samples(model: nn.Module, view: DataView, context: RunContext) -> HeadSamples:
    """The samples of a view with their features from the store, or, without one, computed under phase ``features``."""
    inputs = context.backbone_features(model, view, context) if context.backbone_features is not None else None
    if inputs is None:
        with context.clock.phase("features"):
            inputs = head_inputs(predict(model.get_submodule("backbone"), view, context, "features"))
    return HeadSamples(inputs, view.labels.cpu(), view.indices.cpu())
