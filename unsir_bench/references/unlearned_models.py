"""Weights that methods made, kept in the store so that further metrics need no unlearning again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from unsir_bench.errors import UnsirBenchError
from unsir_bench.references.store import WEIGHTS, Store, content_key, weights_hash
from unsir_bench.references.trained_models import TrainedModel

if TYPE_CHECKING:
    from lightning_fabric import Fabric

KIND = "unlearned weights"


class WeightsMissingError(UnsirBenchError):
    """The store does not have the weights that a record names."""


def keep_unlearned(
    store: Store,
    weights: Mapping[str, Tensor],
    made_by: Mapping[str, Any],
    run_id: str,
    trained: Sequence[TrainedModel],
    fabric: Fabric,
) -> dict[str, str]:
    """Keep unlearned weights; those of a reference model, bit for bit, are not written twice.

    Args:
        store: where to.
        weights: the state dict, on the CPU.
        made_by: plain values: the ``method``, a hash of all that decides the ``unlearning``, and the ``step`` of a
            sequence.
        run_id: of the first run that made them, for people.
        trained: models that the store has.
        fabric: the processes of the run.

    Returns:
        For the record: the store's ``key``, the ``weights``' hash, and that of ``unlearning``.
    """
    own = str(fabric.broadcast(weights_hash(weights)))
    for model in trained:
        if weights_hash(model.weights) == own:
            return {"key": model.key, "weights": own, "unlearning": made_by["unlearning"]}
    about = _described(made_by, own)
    key = content_key(about)

    def make() -> None:
        if fabric.is_global_zero:
            store.write(key, {WEIGHTS: dict(weights)}, {"description": about, "run": run_id})

    store.get_or_create(key, KIND, fabric, make)
    return {"key": key, "weights": own, "unlearning": made_by["unlearning"]}


def _described(made_by: Mapping[str, Any], weights: str) -> dict[str, Any]:
    return {"kind": KIND, **made_by, "weights": weights}


def is_trained(kept: Mapping[str, str], made_by: Mapping[str, Any]) -> bool:
    """Whether what ``keep_unlearned`` returned for ``made_by`` are weights of a model that can be trained again."""
    return kept["key"] != content_key(_described(made_by, kept["weights"]))


def unlearned_weights(store: Store, kept: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights that a record names, verified.

    Args:
        store: where they were kept.
        kept: ``key`` and hash of the ``weights``, as in the record.

    Raises:
        WeightsMissingError: the store has no such entry, it is damaged, or holds other weights.
    """
    entry = store.find(kept["key"])
    if entry is None:
        raise WeightsMissingError(
            f"the store {store.root} has no entry {kept['key']}, or a damaged one: give store.root=FOLDER, or remove "
            "the run's folder and run it again"
        )
    weights = entry.tensors(WEIGHTS)
    if weights_hash(weights) != kept["weights"]:
        raise WeightsMissingError(f"the entry {kept['key']} of {store.root} holds other weights than the record names")
    return weights
