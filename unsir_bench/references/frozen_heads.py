"""Heads on a frozen backbone: backbone and features come from the store, the head is solved for each reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from unsir_bench.config_fields import identity
from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import NotApplicable
from unsir_bench.models.frozen_head import (
    FrozenHeadConfig,
    KMeansHead,
    LinearisedNetwork,
    LogisticHead,
    NearestMeanHead,
    head_inputs,
    load_backbone_of,
)
from unsir_bench.models.model import ModelConfig, state_to_cpu
from unsir_bench.references.store import Entry, Store, content_key, weights_hash
from unsir_bench.references.trained_models import FEATURES, ReferenceModels, TrainedModel
from unsir_bench.references.training_log import RecordingCheckpoint, TrainingLog
from unsir_bench.references.training_sessions import SessionsCheckpoint
from unsir_bench.runtime.clock import Stopwatch
from unsir_bench.training.context import RunContext
from unsir_bench.training.convex_heads import class_sums, set_means, solve_logistic, solved_ridge, targets_of
from unsir_bench.training.fit import FitState, Variation
from unsir_bench.training.inference import predict
from unsir_bench.training.linearised import normal_equations
from unsir_bench.training.quantised_kmeans import QuantisedKMeans
from unsir_bench.training.recipe import Recipe
from unsir_bench.versions import TRAINING_VERSION


@dataclass(frozen=True)
class StoredFeatures:
    """Features of the training split by a frozen backbone; see ``unsir_bench.training.services.BackboneFeatures``.

    Attributes:
        store: where they are kept.
        data_fingerprint: of the data set.
        numerics: the hardware settings that change numbers.
    """

    store: Store
    data_fingerprint: str
    numerics: Mapping[str, Any]

    def __call__(self, model: nn.Module, view: DataView, context: RunContext) -> Tensor | None:
        """Head inputs of a view's samples, which count as read once; None if the store has not the backbone's."""
        with context.clock.paused():
            entry = self.store.find(content_key(self._description(model, view, context)))
            found = None if entry is None else _rows(entry, view)
        if found is not None:
            view.usage.note(view.indices)
        return found

    def made(self, model: nn.Module, view: DataView, everything: DataView, context: RunContext) -> Tensor:
        """Head inputs of a view's samples; those of the whole training split are computed once for all runs."""
        about = self._description(model, everything, context)
        key = content_key(about)

        def make() -> None:
            outputs = predict(backbone_of(model), everything.uncounted(), context, "computing features on train")
            if context.fabric.is_global_zero:
                self.store.write(key, {FEATURES: {"train": outputs.contiguous()}}, {"description": about})

        entry = self.store.get_or_create(key, "features of a frozen backbone", context.fabric, make)
        return _rows(entry, view)

    def _description(self, model: nn.Module, view: DataView, context: RunContext) -> dict[str, Any]:
        architecture = frozen_head_of(context.architecture)
        return {
            "version": TRAINING_VERSION,
            "features of the backbone": weights_hash(state_to_cpu(backbone_of(model))),
            "model": identity(architecture.backbone),
            "data": self.data_fingerprint,
            "normalisation": [view.normalise.mean, view.normalise.std],
            "numerics": dict(self.numerics),
        }


def _rows(entry: Entry, view: DataView) -> Tensor:
    return head_inputs(entry.tensors(FEATURES)["train"][view.indices.cpu()])


def frozen_head_of(architecture: ModelConfig) -> FrozenHeadConfig:
    """The same config node, known to be a frozen head's."""
    if not isinstance(architecture, FrozenHeadConfig):
        raise TypeError(f"model '{architecture.name}' has no frozen backbone")
    return architecture


def backbone_of(model: nn.Module) -> nn.Module:
    """The backbone of a ``FrozenHead``."""
    return model.get_submodule("backbone")


@dataclass
class FrozenHeadModels(ReferenceModels):
    """References of ``model=frozen_head``: all share one backbone, and each has a head of its own.

    Attributes:
        never_forgotten: training-split indices of what no step of the run forgets; a backbone with
            ``trained_on=retain`` is trained on these.
    """

    never_forgotten: Tensor

    @property
    def passes(self) -> int:
        return 1  # a head is solved from one pass

    def training_log(self, original: TrainedModel, split: ForgetSplit, context: RunContext) -> TrainingLog:
        raise NotApplicable("no training log: the head of model=frozen_head is solved, not trained in steps")

    def _description(self, view: DataView, architecture: ModelConfig, seed: int) -> dict[str, Any]:
        key = self.backbone_key(frozen_head_of(architecture), seed)
        return {**super()._description(view, architecture, seed), **({"backbone": key} if key else {})}

    def backbone_key(self, architecture: FrozenHeadConfig, seed: int) -> str | None:
        """The store's address of the network that the backbone is of; None where nothing is trained."""
        view = self._backbone_view(architecture)
        return None if view is None else self._plain().key(view, architecture.backbone, seed)

    def _backbone_view(self, architecture: FrozenHeadConfig) -> DataView | None:
        """The samples that the backbone is trained on."""
        if architecture.trained_on == "weights":
            return None
        return self.data.view("train", self.never_forgotten if architecture.trained_on == "retain" else None)

    def _plain(self) -> ReferenceModels:
        return ReferenceModels(self.store, self.recipe, self.data, self.numerics)

    def _fit(
        self,
        model: nn.Module,
        view: DataView,
        role: str,
        checkpoint: SessionsCheckpoint | RecordingCheckpoint,
        context: RunContext,
        variation: Variation | None = None,
    ) -> FitState:
        """Give the model its backbone and solve its head; the seconds are those of solving."""
        architecture = frozen_head_of(context.architecture)
        self._load_backbone(model, architecture, context)
        watch = Stopwatch(context.device)
        if isinstance(model, LinearisedNetwork):
            with watch.running():
                solve_linear_part(model, view, architecture.l2, context)
        else:
            features = StoredFeatures(self.store, self.data.fingerprint, self.numerics)
            inputs = features.made(model, view, self.data.view("train"), context)
            with watch.running(), torch.no_grad():
                solve(model, inputs, view, len(self.data.labels("train")), context)
        return FitState(1, 0, len(view), watch.total, [context.timing_conditions()], watch.stops)

    def _load_backbone(self, model: nn.Module, architecture: FrozenHeadConfig, context: RunContext) -> None:
        view = self._backbone_view(architecture)
        if view is not None:
            alone = replace(context.of_another_seed(context.seed), architecture=architecture.backbone)
            role = "retrain" if architecture.trained_on == "retain" else "original"
            load_backbone_of(model, self._plain()._trained_on(view, role, alone).weights)


def solve(model: nn.Module, inputs: Tensor, view: DataView, samples: int, context: RunContext) -> None:
    """Solve the head of a model on features of a view, in place.

    Args:
        model: its head is replaced.
        inputs: of the view's samples, (len(view), dimensions).
        view: labels and places in the training split.
        samples: of the training split.
        context: the model's config node, and seeds for what is drawn: the same for an original and its retrained model.
    """
    architecture, head = frozen_head_of(context.architecture), model.get_submodule("head")
    labels = view.labels.cpu()
    on_cpu = head.to("cpu")
    if isinstance(on_cpu, LogisticHead):
        drawn = torch.randn(on_cpu.weight.shape, generator=context.generator("objective perturbation"))
        solve_logistic(on_cpu, inputs, labels, architecture.l2, architecture.perturbation * drawn.double())
    elif isinstance(on_cpu, NearestMeanHead):
        set_means(on_cpu, *class_sums(inputs, labels, context.num_classes))
    elif isinstance(on_cpu, KMeansHead):
        draws = context.generator("k-means")
        ranks = torch.randperm(samples, generator=draws)
        phases = torch.rand(on_cpu.phases.shape, generator=draws, dtype=torch.float64) - 0.5
        kmeans_of(architecture).solve(on_cpu, inputs, labels, view.indices.cpu(), ranks, phases)
    else:
        weight = solved_ridge(inputs, targets_of(labels, context.num_classes), architecture.l2)
        on_cpu.get_parameter("weight").data.copy_(weight)
    head.to(context.device)


def solve_linear_part(model: LinearisedNetwork, view: DataView, l2: float, context: RunContext) -> None:
    """Solve the linear part of a network on a view, in place; derivatives, unlike features, are not kept.

    Args:
        model: with the core's weights.
        view: images and labels.
        l2: of the ridge regression.
        context: shows progress.
    """
    hessian, moment = normal_equations(model, view, l2, context)
    solved = torch.cholesky_solve(moment[:, None], torch.linalg.cholesky(hessian))[:, 0]
    model.head.get_parameter("change").data.copy_(solved)


def kmeans_of(architecture: FrozenHeadConfig) -> QuantisedKMeans:
    """The settings of quantised k-means."""
    return QuantisedKMeans(architecture.quantum, architecture.balance)


def reference_models(
    store: Store,
    recipe: Recipe,
    data: DeviceData,
    numerics: Mapping[str, Any],
    architecture: ModelConfig,
    never_forgotten: Tensor,
) -> ReferenceModels:
    """The references of a run with this model.

    Args:
        store, recipe, data, numerics: as ``ReferenceModels`` has them.
        architecture: of the run.
        never_forgotten: training-split indices of what no step of the run forgets.
    """
    if isinstance(architecture, FrozenHeadConfig):
        return FrozenHeadModels(store, recipe, data, numerics, never_forgotten)
    return ReferenceModels(store, recipe, data, numerics)
