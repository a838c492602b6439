"""Unlearned models of other training seeds by one method, kept in the store: half of a bank of models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import Diverged, MetricUnavailable, NotApplicable, NotEnoughMemoryError
from unsir_bench.models.model import has_finite_weights
from unsir_bench.references.store import all_finite, content_key
from unsir_bench.references.trained_models import LOGITS, ReferenceModels, TrainedModel
from unsir_bench.training.context import RunContext
from unsir_bench.training.inference import predict_splits
from unsir_bench.versions import RESULTS_VERSION, SAMPLES_VERSION

LOG = logging.getLogger("unsir_bench")

Unlearn = Callable[[nn.Module, TrainedModel, RunContext], nn.Module]


@dataclass
class UnlearnedModels:
    """Applies a method to originals of other training seeds, each once for all runs.

    Attributes:
        method: its identity: all of its settings that can change a result.
        unlearn: applies it to a network, which has the weights of an original, in a context of another seed.
        split: what is forgotten.
        references: the store's models.
        context: of the run.
        seconds: what the method took in the run itself, for the cost.
    """

    method: Mapping[str, Any]
    unlearn: Unlearn
    split: ForgetSplit
    references: ReferenceModels
    context: RunContext
    seconds: float

    def logits(self, seed: int) -> Mapping[str, Tensor]:
        """Float32 logits of both splits of the model of a training seed, by split; unlearned now or found.

        Raises:
            MetricUnavailable: with this seed the method or the original diverged, cannot be applied, or lacks memory.
        """
        context = self.context.of_another_seed(seed)
        store = self.references.store
        try:
            original = self.references.original(context)
            key = content_key(self._described(original, seed))
            entry = store.get_or_create(
                key, "an unlearned model", context.fabric, lambda: self._unlearn(key, original, context)
            )
        except (Diverged, NotApplicable, NotEnoughMemoryError) as error:
            raise MetricUnavailable(f"the bank's model of training seed {seed} could not be made: {error}") from error
        return entry.tensors(LOGITS)

    def _unlearn(self, key: str, original: TrainedModel, context: RunContext) -> None:
        LOG.info("unlearning with training seed %d for the bank of models (%s)", context.seed, key)
        network = self.references.network(original, context)
        with context.clock.running():
            network = self.unlearn(network, original, context)
        if not has_finite_weights(network):
            raise Diverged("bank", sum(context.steps.values()), float("nan"))
        logits = predict_splits(network, self.references.data, context, "a bank's model")
        if not all_finite(logits):
            raise Diverged("bank", sum(context.steps.values()), float("nan"), "a logit")
        if context.fabric.is_global_zero:
            self.references.store.write(
                key,
                {LOGITS: logits},
                {"description": self._described(original, context.seed), "seconds": context.clock.total},
            )

    def _described(self, original: TrainedModel, seed: int) -> dict[str, Any]:
        return unlearned_description(self.method, original.key, original.fingerprint, self.split, self.references, seed)


def unlearned_description(
    method: Mapping[str, Any],
    original_key: str,
    weights: str,
    split: ForgetSplit,
    references: ReferenceModels,
    seed: int,
) -> dict[str, Any]:
    """What the logits of the model are that a method makes of an original with weights of this hash."""
    of_samples = {} if split.classes else {"samples_version": SAMPLES_VERSION}
    return {
        "version": RESULTS_VERSION,
        **of_samples,
        "unlearned from": original_key,
        "weights": weights,
        "method": dict(method),
        "split": split.fingerprint,
        "classes": split.classes,
        "seed": seed,
        "numerics": dict(references.numerics),
    }
