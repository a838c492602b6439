"""Weight distances by hand, against numpy in float64, and on a real network with batch norm."""

import copy
import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.weight_distance import (
    WeightDistance,
    distance_to_original,
    distance_to_retrain,
    weight_distance,
)
from unsir_bench.models.allcnn import AllCNNConfig

State = dict[str, Tensor]


def small_pair() -> tuple[State, State]:
    """Two states whose differences are Pythagorean: 5, 12 and, in the running mean, 2."""
    other = {
        "first.weight": torch.tensor([[1.0, 0.0], [0.0, 2.0]]),
        "norm.running_mean": torch.tensor([7.0]),
        "norm.running_var": torch.tensor([1.0]),
        "norm.num_batches_tracked": torch.tensor(3),
        "second.bias": torch.tensor([-2.0]),
    }
    state = {
        "first.weight": torch.tensor([[4.0, 0.0], [4.0, 2.0]]),
        "norm.running_mean": torch.tensor([9.0]),
        "norm.running_var": torch.tensor([1.0]),
        "norm.num_batches_tracked": torch.tensor(999),
        "second.bias": torch.tensor([10.0]),
    }
    return state, other


PARAMETERS = {"second.bias", "first.weight"}


def network_states() -> tuple[State, State, set[str]]:
    """A network with batch norm before and after a change of every weight and statistic."""
    network = AllCNNConfig(width=4).initial((1, 8, 8), 10, seed=0)
    other = copy.deepcopy(network.state_dict())
    draws = torch.Generator().manual_seed(1)
    network.train()(torch.randn((16, 1, 8, 8), generator=draws))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws))
    return network.state_dict(), other, {name for name, _ in network.named_parameters()}


def test_distances_computed_by_hand():
    found = weight_distance(*small_pair(), PARAMETERS)
    assert found.layers == pytest.approx({"first.weight": 5.0, "second.bias": 12.0})
    assert found.total == pytest.approx(17.0)
    assert found.mean == pytest.approx(8.5)
    # ‖difference‖ = 13 against ‖other‖ = sqrt(1 + 4 + 4); the running mean takes part in neither.
    assert found.relative == pytest.approx(13 / 3)
    assert found.statistics == pytest.approx({"norm.running_mean": 2.0, "norm.running_var": 0.0})


def test_layers_stand_in_the_order_of_the_network():
    assert list(weight_distance(*small_pair(), PARAMETERS).layers) == ["first.weight", "second.bias"]


def test_a_real_network_agrees_with_numpy_in_float64():
    state, other, trainable = network_states()
    found = weight_distance(state, other, trainable)

    gaps = {name: (state[name].numpy().astype(np.float64) - other[name].numpy()).ravel() for name in trainable}
    norms = {name: float(np.sqrt((gap**2).sum())) for name, gap in gaps.items()}
    whole = np.concatenate(list(gaps.values()))
    reference = np.concatenate([other[name].numpy().astype(np.float64).ravel() for name in gaps])
    assert found.layers == pytest.approx(norms, rel=1e-12)
    assert min(norms.values()) > 0
    assert found.total == pytest.approx(sum(norms.values()), rel=1e-12)
    assert found.mean == pytest.approx(np.mean(list(norms.values())), rel=1e-12)
    assert found.relative == pytest.approx(np.sqrt(whole @ whole) / np.sqrt(reference @ reference), rel=1e-12)

    statistics = {name for name in state if name.endswith(("running_mean", "running_var"))}
    assert statistics
    assert set(found.statistics) == statistics
    for name in statistics:
        assert found.statistics[name] == pytest.approx(np.linalg.norm(state[name] - other[name]), rel=1e-5)
        assert found.statistics[name] > 0


def test_a_network_is_at_distance_0_from_itself():
    state, _, trainable = network_states()
    found = weight_distance(state, state, trainable)
    assert {*found.layers.values(), *found.statistics.values()} == {0.0}
    assert (found.total, found.mean, found.relative) == (0.0, 0.0, 0.0)


def test_scaling_both_networks_scales_the_norms_and_leaves_the_relative_distance():
    state, other, trainable = network_states()
    found = weight_distance(state, other, trainable)
    tripled = weight_distance(
        {name: 3 * value for name, value in state.items()},
        {name: 3 * value for name, value in other.items()},
        trainable,
    )
    assert tripled.total == pytest.approx(3 * found.total, rel=1e-6)
    assert tripled.relative == pytest.approx(found.relative, rel=1e-6)


def test_the_norms_are_symmetric_and_the_relative_distance_is_relative_to_the_second_network():
    state, other = small_pair()
    backward = weight_distance(other, state, PARAMETERS)
    assert backward.layers == weight_distance(state, other, PARAMETERS).layers
    assert backward.relative == pytest.approx(13 / np.sqrt(16 + 16 + 4 + 100))


def test_frozen_parameters_are_not_measured():
    state, other = small_pair()
    found = weight_distance(state, other, {"second.bias"})
    assert dict(found.layers) == {"second.bias": 12.0}
    assert (found.total, found.mean, found.relative) == (12.0, 12.0, 6.0)


def test_a_name_that_only_resembles_a_running_statistic_is_none():
    weights = {"running_mean_head": torch.ones(1), "running_mean": torch.ones(1)}
    other = {name: torch.zeros(1) for name in weights} | {"running_mean_head": torch.full((1,), 2.0)}
    found = weight_distance(weights, other, {"running_mean_head"})
    assert dict(found.statistics) == {"running_mean": 1.0}


def test_half_precision_weights_are_subtracted_in_float64():
    # In bfloat16 itself 256 - 1.0078125 would round to 255 or 256.
    state, other = {"w": torch.tensor([256.0])}, {"w": torch.tensor([1.0078125])}
    halves = [{"w": value["w"].bfloat16()} for value in (state, other)]
    assert weight_distance(halves[0], halves[1], {"w"}).layers["w"] == 254.9921875


def test_squares_beyond_float32_do_not_overflow():
    found = weight_distance({"w": torch.full((2,), 1e30)}, {"w": torch.full((2,), -1e30)}, {"w"})
    assert found.layers["w"] == pytest.approx(2e30 * 2**0.5, rel=1e-6)
    assert found.relative == pytest.approx(2.0, rel=1e-6)


def test_states_are_left_as_they_were():
    state, other = small_pair()
    before = copy.deepcopy((state, other))
    weight_distance(state, other, PARAMETERS)
    for then, now in zip(before, (state, other), strict=True):
        assert all(torch.equal(then[name], now[name]) for name in then)


def test_the_batch_count_may_be_missing():
    state, other = small_pair()
    del other["norm.num_batches_tracked"]
    assert weight_distance(state, other, PARAMETERS).total == pytest.approx(17.0)


@pytest.mark.parametrize("name", ["first.weight", "norm.running_var"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_missing_tensor_is_named(name: str, side: int):
    pair = small_pair()
    del pair[side][name]
    with pytest.raises(ValueError, match=f"'{name}' is missing"):
        weight_distance(*pair, PARAMETERS)


def test_a_trainable_name_in_neither_network_is_named():
    with pytest.raises(ValueError, match=r"'third\.weight' is missing"):
        weight_distance(*small_pair(), {*PARAMETERS, "third.weight"})


@pytest.mark.parametrize(
    ("name", "value", "shapes"),
    [
        # Each would broadcast against the other's shape without an error.
        ("first.weight", torch.zeros(1, 2), r"\(1, 2\) in one network and \(2, 2\)"),
        ("norm.running_mean", torch.tensor(1.0), r"\(\) in one network and \(1,\)"),
    ],
)
def test_another_shape_is_named(name: str, value: Tensor, shapes: str):
    state, other = small_pair()
    with pytest.raises(ValueError, match=f"'{name}' has shape {shapes}"):
        weight_distance(state | {name: value}, other, PARAMETERS)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["second.bias", "norm.running_var"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_diverged_network_has_no_distance(bad: float, name: str, side: int):
    pair = small_pair()
    pair[side][name][0] = bad
    with pytest.raises(MetricUnavailable, match=f"{name} are NaN or infinite"):
        weight_distance(*pair, PARAMETERS)


def test_nothing_trainable_has_no_distance():
    with pytest.raises(MetricUnavailable, match="no trainable parameters"):
        weight_distance(*small_pair(), set())


def test_a_network_of_zeros_gives_no_relative_distance():
    with pytest.raises(MetricUnavailable, match="all zero"):
        weight_distance({"w": torch.ones(2)}, {"w": torch.zeros(2)}, {"w"})


def test_the_result_cannot_be_changed():
    found = weight_distance(*small_pair(), PARAMETERS)
    assert isinstance(found, WeightDistance)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.total = 0.0  # type: ignore[misc]


def test_a_record_has_its_own_weights_distance_relative_to_the_reference():
    own, original, retrained = ({"w": torch.tensor([first, 0.0])} for first in (4.0, 1.0, 2.0))
    run = SimpleNamespace(original=SimpleNamespace(weights=original), parameter_names=("w",))
    inputs: Any = SimpleNamespace(
        model=SimpleNamespace(weights=own), run=run, retrained=SimpleNamespace(weights=retrained)
    )
    # Relative to its own weights they would be 3/4 and 1/2.
    for found, name, distance, relative in (
        (distance_to_original(inputs), "weight_distance_to_original", 3.0, 3.0),
        (distance_to_retrain(inputs), "weight_distance_to_retrain", 2.0, 1.0),
    ):
        assert found == {
            f"{name}_sum": distance, f"{name}_mean": distance, f"{name}_relative": relative,
            name: {"layers": {"w": distance}, "batchnorm_statistics": {}},
        }  # fmt: skip
