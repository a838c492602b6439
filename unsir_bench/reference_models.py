"""The original and the retrained model of a run: found in the store, or trained once for all runs that need them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from unsir_bench.context import RunContext
from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit, index_hash
from unsir_bench.errors import Diverged
from unsir_bench.field_checks import identity
from unsir_bench.hardware import PeakMemory
from unsir_bench.inference import predict_splits
from unsir_bench.models.model import has_finite_weights, state_to_cpu
from unsir_bench.store import Entry, Store, TrainingCheckpoint, content_key
from unsir_bench.training import EpochBatches, FitState, Recipe, fit

LOG = logging.getLogger("unsir_bench")

WEIGHTS, LOGITS = "weights", "logits"
# Raise when a change of the code changes what the same configuration trains: older entries are then left unused.
TRAINING_VERSION = 1


@dataclass(frozen=True)
class TrainedModel:
    """A model of the store.

    Attributes:
        key: its address in the store.
        weights: its state dict, on the CPU.
        logits: float32 logits of the whole training and test splits, by split name.
        manifest: ``seconds``, ``steps``, ``samples``, ``peak_memory_bytes`` of its training, and its description.
    """

    key: str
    weights: Mapping[str, Tensor]
    logits: Mapping[str, Tensor]
    manifest: Mapping[str, Any]

    @classmethod
    def of(cls, entry: Entry) -> TrainedModel:
        """Read a whole entry."""
        return cls(entry.folder.name, entry.tensors(WEIGHTS), entry.tensors(LOGITS), entry.manifest)

    @property
    def seconds(self) -> float:
        """Seconds its training took."""
        return float(self.manifest["seconds"])


@dataclass
class ReferenceModels:
    """Makes and finds the models that a run compares with.

    Attributes:
        store: where they are kept.
        recipe: how they are trained.
        data: the whole data set.
        numerics: what of the hardware changes numbers.
    """

    store: Store
    recipe: Recipe
    data: DeviceData
    numerics: Mapping[str, Any]

    def original(self, context: RunContext) -> TrainedModel:
        """The model trained on the whole training split."""
        return self._trained_on(self.data.view("train"), "original", context)

    def retrained(self, split: ForgetSplit, context: RunContext) -> TrainedModel:
        """The model trained on the retain samples alone, from the original's initial weights: the gold standard."""
        return self._trained_on(self.data.view("train", split.retain_train), "retrain", context)

    def retrained_if_present(self, split: ForgetSplit, context: RunContext) -> TrainedModel | None:
        """The retrained model where the store has it; nothing is trained."""
        entry = self.store.find(self.key(self.data.view("train", split.retain_train), context))
        return TrainedModel.of(entry) if entry is not None else None

    def __call__(self, view: DataView, context: RunContext) -> nn.Module:
        """Serve a method that trains from scratch: the time it took is booked, wherever the model came from."""
        with context.clock.paused():
            trained = self._trained_on(view, "retrain", context)
            model = self.network(trained, context)
        manifest = trained.manifest
        context.clock.credit("train", trained.seconds)
        context.steps["train"] += manifest["steps"]
        context.credited_peak_bytes = max(context.credited_peak_bytes, manifest["peak_memory_bytes"])
        view.usage.note(view.indices, manifest["samples"] // len(view))
        return model

    def network(self, trained: TrainedModel, context: RunContext) -> nn.Module:
        """The network with the trained weights, on the context's device."""
        model = self._initial(context)
        model.load_state_dict(trained.weights)
        return model

    def key(self, view: DataView, context: RunContext) -> str:
        """The store's address of the model that the run's recipe makes of ``view``."""
        return content_key(self._description(view, context))

    def _description(self, view: DataView, context: RunContext) -> dict[str, Any]:
        return {
            "version": TRAINING_VERSION,
            "model": identity(context.architecture),
            "recipe": identity(self.recipe),
            "data": self.data.fingerprint,
            "normalisation": [self.data.normalisation.mean, self.data.normalisation.std],
            "samples": index_hash(view.indices),
            "seed": context.seed,
            "numerics": dict(self.numerics),
        }

    def _trained_on(self, view: DataView, role: str, context: RunContext) -> TrainedModel:
        key = self.key(view, context)
        if not self._present(key, context):
            # Of several processes of one run the first holds the lock for all; they train together.
            first = context.fabric.is_global_zero
            with self.store.lock(key, f"the {role} model") if first else nullcontext():
                if not self._present(key, context):
                    self._train(key, view, role, context)
                context.fabric.barrier()
        entry = self.store.find(key)
        if entry is None:
            raise RuntimeError(f"the {role} model {key} vanished from {self.store.root} while it was used")
        return TrainedModel.of(entry)

    def _present(self, key: str, context: RunContext) -> bool:
        """Whether the store has the entry, as the run's first process sees it."""
        return bool(context.fabric.broadcast(self.store.find(key) is not None))

    def _train(self, key: str, view: DataView, role: str, context: RunContext) -> None:
        LOG.info("training the %s model (%s) on %d images, %d epochs", role, key, len(view), self.recipe.epochs)
        uncounted = self.data.view("train", view.indices)
        checkpoint = self.store.checkpoint(key)
        memory = PeakMemory(context.device)
        memory.reset()
        model = self._initial(context)
        done = self._fit(model, uncounted, role, checkpoint, context)
        manifest = {
            "role": role,
            "seconds": done.seconds,
            "steps": done.steps,
            "samples": done.samples,
            "peak_memory_bytes": memory.read(),
            "description": self._description(view, context),
        }
        if not has_finite_weights(model):
            checkpoint.discard()
            raise Diverged(role, done.steps, float("nan"))
        logits = predict_splits(model, self.data, context, role)
        if context.fabric.is_global_zero:
            self.store.write(key, {WEIGHTS: state_to_cpu(model), LOGITS: logits}, manifest)
            checkpoint.discard()

    def _fit(
        self, model: nn.Module, view: DataView, role: str, checkpoint: TrainingCheckpoint, context: RunContext
    ) -> FitState:
        # Original and retrain draw under one name, so that they differ by their data alone.
        batches = EpochBatches.of(view, self.recipe, context, "train")
        steps_before = context.steps.copy()
        try:
            return fit(model, batches, self.recipe, context, role, checkpoint)
        except Diverged:
            checkpoint.discard()
            raise
        finally:
            # A reference's steps are not the method's.
            context.steps = steps_before

    def _initial(self, context: RunContext) -> nn.Module:
        model = context.architecture.initial(context.image_shape, context.num_classes, context.seed)
        # torch's annotations know no call with both a device and a layout of a module.
        return model.to(context.device, memory_format=context.layout)  # type: ignore[call-overload,no-any-return]
