"""Tensors that methods compute before they forget (Fisher diagonal, importance), kept in the store for all runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from unsir_bench.config_fields import identity
from unsir_bench.data.batches import DataView
from unsir_bench.data.forget_split import index_hash
from unsir_bench.models.model import state_to_cpu
from unsir_bench.references.store import Store, content_key, weights_hash
from unsir_bench.runtime.clock import Stopwatch
from unsir_bench.runtime.peak_memory import PeakMemory
from unsir_bench.training.context import RunContext
from unsir_bench.versions import PRECOMPUTATION_VERSION

LOG = logging.getLogger("unsir_bench")

TENSORS = "tensors"


@dataclass(frozen=True)
class StoredPrecomputation:
    """Computes once and keeps the result; see ``unsir_bench.training.services.Precomputation``.

    Attributes:
        store: where results are kept.
        data_fingerprint: of the data set that views belong to.
        numerics: the hardware settings that change numbers.
    """

    store: Store
    data_fingerprint: str
    numerics: Mapping[str, Any]

    def __call__(
        self,
        kind: str,
        settings: Mapping[str, Any],
        model: nn.Module,
        view: DataView,
        compute: Callable[[DataView], dict[str, Tensor]],
        context: RunContext,
    ) -> dict[str, Tensor]:
        """The tensors, computed or found; their seconds and peak memory count for the run either way."""
        with context.clock.paused():
            description = {
                "version": PRECOMPUTATION_VERSION,
                "kind": kind,
                "settings": dict(settings),
                "weights": weights_hash(state_to_cpu(model)),
                "model": identity(context.architecture),
                "data": self.data_fingerprint,
                "normalisation": [view.normalise.mean, view.normalise.std],
                "samples": index_hash(view.indices),
                "targets": weights_hash({"targets": view.labels.contiguous()}),
                "numerics": dict(self.numerics),
            }
            if any(parameter.element_size() < 4 for parameter in model.parameters()):
                description["summed_in"] = "float32"  # entries without it were summed in 16 bits
            key = content_key(description)

            def make() -> None:
                self._make(key, description, lambda: compute(view.uncounted()), context)

            entry = self.store.get_or_create(key, kind, context.fabric, make)
            tensors = {name: value.to(context.device) for name, value in entry.tensors(TENSORS).items()}
        context.add_stored_cost(kind, entry.manifest)
        view.usage.note(view.indices)
        return tensors

    def _make(
        self, key: str, description: Mapping[str, Any], compute: Callable[[], dict[str, Tensor]], context: RunContext
    ) -> None:
        LOG.info("computing %s (%s)", description["kind"], key)
        watch, memory = Stopwatch(context.device), PeakMemory(context.device)
        context.stored_peak_bytes = max(context.stored_peak_bytes, memory.read())  # the method's own, so far
        memory.reset()
        with watch.running():
            tensors = compute()
        manifest = {
            "seconds": watch.total,
            "timed_on": context.timing_conditions(),
            "stops": watch.stops,
            "peak_memory_bytes": memory.read(),
            "description": description,
        }
        if context.fabric.is_global_zero:
            self.store.write(
                key, {TENSORS: {name: value.cpu().contiguous().clone() for name, value in tensors.items()}}, manifest
            )
