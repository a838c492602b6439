"""The original and the retrained model of a run: found in the store, or trained once for all runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.config_fields import identity
from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit, index_hash
from unsir_bench.errors import Diverged, NotApplicable
from unsir_bench.models.model import ModelConfig, has_finite_weights, state_to_cpu
from unsir_bench.references.store import WEIGHTS, Entry, Store, all_finite, content_key, weights_hash
from unsir_bench.references.training_log import LastRead, RecordingCheckpoint, TrainingLog, UpdateRecorder
from unsir_bench.references.training_sessions import SessionsCheckpoint
from unsir_bench.runtime.peak_memory import PeakMemory
from unsir_bench.runtime.timing import timed_on
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import FitState, Variation, WatchedLoss, fit
from unsir_bench.training.inference import features_of, outputs_of_splits, predict, predict_splits
from unsir_bench.training.recipe import Recipe
from unsir_bench.versions import TRAINING_VERSION

LOG = logging.getLogger("unsir_bench")

LOGITS, FEATURES, UPDATES = "logits", "features", "updates"


@dataclass(frozen=True)
class TrainedModel:
    """A model of the store.

    Attributes:
        key: its address in the store.
        weights: its state dict, on the CPU.
        logits: float32 logits of the whole training and test splits, by split name.
        manifest: ``seconds``, ``steps``, ``samples``, ``peak_memory_bytes`` of its training, what it was ``timed_on``,
            what it was ``trained_in``, the hash of its ``weights``, and its description.
    """

    key: str
    weights: Mapping[str, Tensor]
    logits: Mapping[str, Tensor]
    manifest: Mapping[str, Any]

    @classmethod
    def of(cls, entry: Entry) -> TrainedModel:
        """Read a whole entry."""
        return cls(entry.folder.name, entry.tensors(WEIGHTS), entry.tensors(LOGITS), entry.manifest)

    @cached_property
    def fingerprint(self) -> str:
        """The hash of its weights: a key may come to name others, trained anew or elsewhere."""
        return weights_hash(self.weights)

    @property
    def provenance(self) -> dict[str, Any]:
        """For the record: the hash of the weights, and commit and machine of their training (None if not known)."""
        return {"weights": self.fingerprint, "trained_in": self.manifest.get("trained_in")}

    @property
    def seconds(self) -> float:
        """Seconds its training took."""
        return float(self.manifest["seconds"])


@dataclass
class ReferenceModels:
    """Finds or trains the models that a run compares with.

    Attributes:
        store: where they are kept.
        recipe: how they are trained.
        data: the whole data set.
        numerics: the hardware settings that change numbers.
    """

    store: Store
    recipe: Recipe
    data: DeviceData
    numerics: Mapping[str, Any]

    @property
    def passes(self) -> int:
        """How often a training reads each of its samples."""
        return self.recipe.epochs

    def original(self, context: RunContext) -> TrainedModel:
        """The model trained on the whole training split."""
        return self._trained_on(self.data.view("train"), "original", context)

    def training_log(self, original: TrainedModel, split: ForgetSplit, context: RunContext) -> TrainingLog:
        """The log of the original's training, for the forget samples of ``split``.

        The original is trained again from the same seeds while its updates are recorded, once for all runs that need
        this log: what will be forgotten is not known when the original is trained for all runs.

        Raises:
            NotApplicable: the second training ended at other weights, so that its log is not the original's.
        """
        key = self.log_key(original.key, original.fingerprint, split)
        entry = self.store.get_or_create(
            key, "the training log", context.fabric, lambda: self._record_training(key, original, split, context)
        )
        return TrainingLog(entry.tensors(UPDATES), entry.manifest)

    def retrained(self, split: ForgetSplit, context: RunContext) -> TrainedModel:
        """The model trained on the retain samples alone, from the original's initial weights: the gold standard."""
        return self._trained_on(self.data.view("train", split.retain_train), "retrain", context)

    def retrained_if_present(self, split: ForgetSplit, context: RunContext) -> TrainedModel | None:
        """The retrained model where the store has it; nothing is trained."""
        entry = self.store.find(self._key(self.data.view("train", split.retain_train), context))
        return TrainedModel.of(entry) if entry is not None else None

    def __call__(self, view: DataView, context: RunContext) -> nn.Module:
        """A network trained from scratch for a method; its training time counts, also if the store had the model."""
        with context.clock.paused():
            # A training resets the peak: what the method reached so far is kept.
            memory = PeakMemory(context.device)
            context.stored_peak_bytes = max(context.stored_peak_bytes, memory.read())
            trained = self._trained_on(view, "retrain", context)
            memory.reset()  # what a training held here is in its manifest, as of one found in the store
            model = self.network(trained, context)
        manifest = trained.manifest
        context.add_stored_cost("train", manifest)
        context.steps["train"] += manifest["steps"]
        view.usage.note(view.indices, self.passes)
        return model

    def features(self, trained: TrainedModel, context: RunContext) -> dict[str, Tensor] | None:
        """Penultimate features of the training and test splits, by split name, kept in the store; None without a head.

        They are kept at half precision.
        """

        def make() -> None:
            found = outputs_of_splits(self.network(trained, context), self.data, context, "a reference")
            halves = {name: features.half() for name, features in (features_of(found) or {}).items()}
            if context.fabric.is_global_zero:
                self.store.write(key, {FEATURES: halves}, {"description": about})

        about = {"features of": trained.key, "weights": trained.fingerprint}
        key = content_key(about)
        entry = self.store.get_or_create(key, "features of a reference model", context.fabric, make)
        return {name: value.float() for name, value in entry.tensors(FEATURES).items()} or None

    def remembered(
        self, kind: str, description: Mapping[str, Any], compute: Callable[[], dict[str, Any]], context: RunContext
    ) -> dict[str, Any]:
        """Plain values that ``compute`` returns, kept in the store under ``kind`` and ``description``."""

        def make() -> None:
            result = compute()
            if context.fabric.is_global_zero:
                self.store.write(key, {}, {"description": about, "result": result})

        about = {"kind": kind, "description": description}
        key = content_key(about)
        return self.store.get_or_create(key, kind, context.fabric, make).manifest["result"]  # type: ignore[no-any-return]

    def network(self, trained: TrainedModel, context: RunContext) -> nn.Module:
        """The network with the trained weights, on the context's device."""
        return context.network_with(trained.weights)

    def key(self, view: DataView, architecture: ModelConfig, seed: int) -> str:
        """The store's address of the model that the run's recipe makes of ``view``."""
        return content_key(self._description(view, architecture, seed))

    def log_key(self, original_key: str, weights: str, split: ForgetSplit) -> str:
        """The store's address of the log of an original's training, by its weights' hash and what is forgotten."""
        return content_key(_log_description(original_key, weights, split))

    def _description(self, view: DataView, architecture: ModelConfig, seed: int) -> dict[str, Any]:
        return {
            "version": TRAINING_VERSION,
            "model": identity(architecture),
            "recipe": identity(self.recipe),
            "data": self.data.fingerprint,
            "normalisation": [self.data.normalisation.mean, self.data.normalisation.std],
            "samples": index_hash(view.indices),
            "seed": seed,
            "numerics": dict(self.numerics),
        }

    def _key(self, view: DataView, context: RunContext) -> str:
        return self.key(view, context.architecture, context.seed)

    def _trained_on(self, view: DataView, role: str, context: RunContext) -> TrainedModel:
        key = self._key(view, context)
        what = f"the {role} model"
        return TrainedModel.of(
            self.store.get_or_create(key, what, context.fabric, lambda: self._train(key, view, role, context))
        )

    def _train(self, key: str, view: DataView, role: str, context: RunContext) -> None:
        LOG.info("training the %s model (%s) on %d images, %d epochs", role, key, len(view), self.passes)
        checkpoint = SessionsCheckpoint(self.store.checkpoint(key), context.device)
        model = context.initial_network()
        done = self._fit(model, view.uncounted(), role, checkpoint, context)
        manifest = {
            "role": role,
            "seconds": done.seconds,
            "timed_on": timed_on(done.timed_on),
            "stops": done.stops,
            "trained_in": checkpoint.trained_in(),
            "weights": weights_hash(state_to_cpu(model)),
            "steps": done.steps,
            "samples": done.samples,
            "peak_memory_bytes": checkpoint.peak_bytes(),
            "description": self._description(view, context.architecture, context.seed),
        }
        if not has_finite_weights(model):
            checkpoint.discard()
            raise Diverged(role, done.steps, float("nan"))
        logits = predict_splits(model, self.data, context, role)
        if not all_finite(logits):
            checkpoint.discard()
            raise Diverged(role, done.steps, float("nan"), "a logit")
        if context.fabric.is_global_zero:
            self.store.write(key, {WEIGHTS: state_to_cpu(model), LOGITS: logits}, manifest)
            checkpoint.discard()

    def _record_training(self, key: str, original: TrainedModel, split: ForgetSplit, context: RunContext) -> None:
        LOG.info("training the original model again to record its updates (%s), %d epochs", key, self.recipe.epochs)
        model = context.initial_network()
        samples = len(self.data.labels("train"))
        batch = LastRead(samples)
        recorder = UpdateRecorder(model, split.forget_train, batch, context.device, split.removed(samples))
        checkpoint = RecordingCheckpoint(self.store.checkpoint(key), recorder)
        recording = Variation(after_step=recorder.after_step)
        done = self._fit(model, self.data.view("train", usage=batch), "log", checkpoint, context, recording)
        if weights_hash(state_to_cpu(model)) != original.fingerprint:
            checkpoint.discard()
            raise NotApplicable(
                "no training log: trained again from the same seeds, the original ended at other weights, as happens "
                "with another number of CPU threads or on a GPU without hardware.deterministic; set hardware.threads "
                f"to what the original was trained with, or remove {original.key} from the store; remove this run's "
                "folder too, and run it again"
            )
        manifest = {
            "description": _log_description(original.key, original.fingerprint, split),
            "original": original.key,
            "seconds": recorder.seconds,
            "timed_on": timed_on(done.timed_on),
            "stops": recorder.stops,
            "batches": recorder.batches,
            "batches_with_forget_samples": recorder.recorded,
        }
        if context.fabric.is_global_zero:
            self.store.write(key, {UPDATES: recorder.updates_on_cpu()}, manifest)
            checkpoint.discard()

    def _fit(
        self,
        model: nn.Module,
        view: DataView,
        role: str,
        checkpoint: SessionsCheckpoint | RecordingCheckpoint,
        context: RunContext,
        variation: Variation | None = None,
    ) -> FitState:
        trained, watched = self._trained_and_watched(view, context)
        # Original and retrain draw under one name, so that they differ by their data alone.
        batches_of = EpochBatches.poisson if self.recipe.privacy is not None else EpochBatches.from_view
        batches = batches_of(trained, self.recipe, context, "train")
        steps_before = context.steps.copy()
        try:
            return fit(model, batches, self.recipe, context, role, checkpoint, variation, watched)
        except Diverged:
            checkpoint.discard()
            raise
        finally:
            # A reference's steps are not the method's.
            context.steps = steps_before

    def _trained_and_watched(self, view: DataView, context: RunContext) -> tuple[DataView, WatchedLoss | None]:
        """The samples to train on, and the loss that the schedule watches; None: the training loss.

        Held-out samples come first in one order of the whole training split for each seed, so that an original and its
        retrained model hold out the same samples of a retained class, up to the last few.
        """
        watch = self.recipe.watches
        if watch in ("train", "nothing"):
            return view, None
        if watch == "test":
            here = torch.isin(self.data.labels("test"), view.labels.unique())
            return view, mean_loss_of(self.data.view("test", torch.where(here)[0]), context)
        count = max(1, round(self.recipe.held_out_share * len(view)))
        if count == len(view):
            raise NotApplicable(f"train.held_out_share: {len(view)} training image(s) leave none to train on")
        place = torch.randperm(len(self.data.labels("train")), generator=context.generator("held out"))
        order = place[view.indices].argsort()
        held_out, trained = (positions.sort().values for positions in (order[:count], order[count:]))
        return view.narrowed(trained), mean_loss_of(view.uncounted().narrowed(held_out), context)


def _log_description(original_key: str, weights: str, split: ForgetSplit) -> dict[str, Any]:
    gone = {"gone": split.gone} if split.gone else {}
    samples = {} if split.classes and not split.samples_removed else {"split": split.fingerprint}
    return {"log of": original_key, "weights": weights, "forget classes": split.classes} | gone | samples


def mean_loss_of(view: DataView, context: RunContext) -> WatchedLoss:
    """The mean cross-entropy of a network, in eval mode, on a view."""
    return lambda model: F.cross_entropy(predict(model, view, context, "watched loss"), view.labels).item()
