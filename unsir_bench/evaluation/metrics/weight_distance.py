"""How far a network's weights lie from another's, layer by layer and as a whole.

Against the original it shows what unlearning moved: a method that leaves the weights where they were has hidden the
forget classes rather than forgotten them. The UNSIR paper (Tarun et al., TNNLS 2023) plots it layer by layer, for the
unlearned and for the retrained model.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.inputs import require_finite
from unsir_bench.evaluation.registry import RETRAIN, MetricCard, MetricInputs, Scores, metric

RUNNING_STATISTICS = ("running_mean", "running_var")
# A count of batches: it says how long a network trained, not what it computes.
BATCH_COUNT = "num_batches_tracked"


@dataclass(frozen=True)
class WeightDistance:
    """Distances between two networks, in the units of the weights; each is at least 0, and 0 if nothing differs.

    The ideal of the distance from the original is the retrained model's, not 0; that of the distance from the retrained
    model is 0. A second retrained model is no floor of either: trained from other initial weights, it lies farther from
    both than an original that forgot nothing.

    Attributes:
        layers: ‖W - W_other‖₂ of each tensor that counts by parameter name, in the network's order.
        total: sum of ``layers``.
        mean: mean of ``layers``, each tensor counting once whatever its size.
        relative: ‖θ - θ_other‖₂ / ‖θ_other‖₂, θ being all of these tensors as one vector; without unit.
        statistics: the same norm of each batch-norm running mean and variance by buffer name, part of no total:
            statistics of activations are no weights and differ in scale. Empty without batch norm.
    """

    layers: Mapping[str, float]
    total: float
    mean: float
    relative: float
    statistics: Mapping[str, float]


def weight_distance(
    state: Mapping[str, Tensor], other: Mapping[str, Tensor], trainable: Collection[str]
) -> WeightDistance:
    """Distance of one network's weights and running statistics from another's of the same architecture.

    Computed in float64. Entries that are neither trainable nor running statistics (frozen parameters, constants) must
    agree in name and shape and are not measured; ``num_batches_tracked`` is ignored.

    Args:
        state: ``state_dict()`` of the network to judge, on the CPU.
        other: of the network it is compared with, for instance the original.
        trainable: names of the parameters that count as layers.

    Returns:
        The norms and their totals.

    Raises:
        ValueError: a tensor is missing in one of the two or has another shape there, or a trainable name is in neither.
        MetricUnavailable: a weight is NaN or infinite, nothing is trainable, or ``other`` is zero throughout.
    """
    _require_same_architecture(state, other, trainable)
    if not trainable:
        raise MetricUnavailable("the network has no trainable parameters")
    layers = {name: _distance(name, state, other) for name in state if name in trainable}
    other_norm = math.hypot(*(float(torch.linalg.vector_norm(other[name].double())) for name in layers))
    if other_norm == 0:
        raise MetricUnavailable("the weights compared with are all zero, so there is no relative distance")
    total = math.fsum(layers.values())
    return WeightDistance(
        layers=layers,
        total=total,
        mean=total / len(layers),
        relative=math.hypot(*layers.values()) / other_norm,
        statistics={name: _distance(name, state, other) for name in state if _is_running_statistic(name)},
    )


def _distance(name: str, state: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """‖state[name] - other[name]‖₂."""
    norm = torch.linalg.vector_norm(state[name].double() - other[name].double())
    # Squares of finite float32 weights do not overflow a float64: the norm is finite exactly if they are.
    require_finite(f"values of {name}", norm)
    return float(norm)


def _is_running_statistic(name: str) -> bool:
    return name.rpartition(".")[2] in RUNNING_STATISTICS


def _require_same_architecture(
    state: Mapping[str, Tensor], other: Mapping[str, Tensor], trainable: Collection[str]
) -> None:
    """Raise ``ValueError`` that names the first tensor by which the two states differ."""
    for name in [*state, *other, *trainable]:
        if name.rpartition(".")[2] == BATCH_COUNT:
            continue
        if name not in state or name not in other:
            raise ValueError(f"'{name}' is missing in one of the two networks")
        if state[name].shape != other[name].shape:
            raise ValueError(
                f"'{name}' has shape {tuple(state[name].shape)} in one network and {tuple(other[name].shape)} "
                f"in the other"
            )


def _cards(other: str, ideal: str, source: str) -> list[MetricCard]:
    sources = {"sum": source, "mean": source, "relative": "defined here"}
    return [
        MetricCard(
            f"weight_distance_to_{other}_{kind}", f"weights to {other}, {kind}", sources[kind], ideal, (0, math.inf),
            scale=1.0,
        )
        for kind in sources
    ]  # fmt: skip


@metric(*_cards("original", RETRAIN, "UNSIR"), when="weights", relative_to="original", group="weight distance")
def distance_to_original(inputs: MetricInputs) -> Scores:
    """Distance from the original's weights. Details: by layer."""
    return _distances(inputs, "original", inputs.run.original.weights)


@metric(*_cards("retrain", "0", "defined here"), when="weights", relative_to="retrain", group="weight distance")
def distance_to_retrain(inputs: MetricInputs) -> Scores:
    """Distance from the retrained model's weights. Details: by layer."""
    return _distances(inputs, "retrain", inputs.retrained.weights)


def _distances(inputs: MetricInputs, other: str, weights: Mapping[str, Tensor]) -> Scores:
    distance = weight_distance(inputs.model.weights, weights, inputs.run.parameter_names)
    name = f"weight_distance_to_{other}"
    return {
        f"{name}_sum": distance.total,
        f"{name}_mean": distance.mean,
        f"{name}_relative": distance.relative,
        name: {"layers": dict(distance.layers), "batchnorm_statistics": dict(distance.statistics)},
    }
