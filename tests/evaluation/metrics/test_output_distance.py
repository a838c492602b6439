"""Distances between outputs against scipy, the published code, brute force in exact arithmetic, and by hand."""

import math
import warnings
from collections.abc import Callable
from decimal import Decimal, getcontext

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional as F

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.output_distance import activation_distances, js_divergence, zrf, zrf_legacy

Metric = Callable[[Tensor, Tensor], float]


def activation_distance_l1(logits: Tensor, other: Tensor) -> float:
    return activation_distances(logits, other)[0]


def activation_distance_l2(logits: Tensor, other: Tensor) -> float:
    return activation_distances(logits, other)[1]


ALL: list[Metric] = [js_divergence, activation_distance_l1, activation_distance_l2, zrf, zrf_legacy]
# Value of each where the two outputs agree.
AT_EQUALITY = list(zip(ALL, [0.0, 0.0, 0.0, 1.0, 1.0], strict=True))


def pair(samples: int = 100, classes: int = 10, scale: float = 3.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return scale * torch.randn(samples, classes, generator=draws), torch.randn(samples, classes, generator=draws)


def logits_of(*probabilities: list[float]) -> Tensor:
    """Logits whose softmax the probabilities are."""
    return torch.tensor(probabilities, dtype=torch.float64).log()


def probabilities(logits: Tensor) -> np.ndarray:
    return softmax(logits.numpy().astype(np.float64), axis=1)


def published_zrf(logits: Tensor, random_logits: Tensor) -> float:
    """The arithmetic of vikram2000b/bad-teaching-unlearning, metrics.py, with its argument order and reduction."""
    p, q = torch.softmax(logits, dim=1), torch.softmax(random_logits, dim=1)
    middle = (p + q) / 2
    with warnings.catch_warnings():
        # torch warns that the default reduction is no divergence, which is what the published code overlooks.
        warnings.simplefilter("ignore")
        return 1 - float(F.kl_div(p.log(), middle) / 2 + F.kl_div(q.log(), middle) / 2)


def exact_softmax(row: list[float]) -> list[Decimal]:
    powers = [Decimal(value).exp() for value in row]
    return [power / sum(powers) for power in powers]


def exact_divergence(p: list[Decimal], q: list[Decimal]) -> Decimal:
    return sum((a * (a / b).ln() for a, b in zip(p, q, strict=True)), Decimal(0))


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0])
def test_jensen_shannon_agrees_with_scipy(classes: int, scale: float):
    first, second = pair(classes=classes, scale=scale)
    expected = (jensenshannon(probabilities(first), probabilities(second), base=2, axis=1) ** 2).mean()
    assert js_divergence(first, second) == pytest.approx(expected, rel=1e-9)
    assert zrf(first, second) == pytest.approx(1 - expected, rel=1e-9)


def test_jensen_shannon_computed_by_hand():
    # (1/2, 1/2) against (1, 0), the 0 as exp(-800): H(3/4, 1/4) - 1/2 bits.
    found = js_divergence(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, -800.0]]))
    assert found == pytest.approx(-0.75 * math.log2(0.75) - 0.25 * math.log2(0.25) - 0.5, rel=1e-12)


def test_samples_are_averaged_and_classes_summed():
    """One sample that agrees, one without overlap: 1/2, whatever the number of classes."""
    for classes in (2, 10):
        first = torch.full((2, classes), -1e4)
        second = first.clone()
        first[:, 0] = 0.0
        second[0, 0] = second[1, 1] = 0.0
        assert js_divergence(first, second) == pytest.approx(0.5, abs=1e-12)
        assert activation_distance_l1(first, second) == pytest.approx(1.0, abs=1e-12)
        assert activation_distance_l2(first, second) == pytest.approx(math.sqrt(2) / 2, abs=1e-12)


def test_activation_distances_computed_by_hand():
    first = logits_of([0.5, 0.25, 0.25], [0.2, 0.2, 0.6])
    second = logits_of([0.25, 0.5, 0.25], [0.2, 0.2, 0.6])
    assert activation_distance_l1(first, second) == pytest.approx(0.25)
    assert activation_distance_l2(first, second) == pytest.approx(math.sqrt(0.125) / 2)


def test_activation_distances_agree_with_numpy():
    first, second = pair()
    gap = probabilities(first) - probabilities(second)
    assert activation_distance_l1(first, second) == pytest.approx(np.abs(gap).sum(axis=1).mean(), rel=1e-12)
    assert activation_distance_l2(first, second) == pytest.approx(np.sqrt((gap**2).sum(axis=1)).mean(), rel=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_legacy_zrf_is_what_the_published_code_computes(classes: int, scale: float):
    first, second = pair(classes=classes, scale=scale)
    # The published code subtracts logarithms in float32: its own rounding is all that may differ.
    assert zrf_legacy(first, second) == pytest.approx(published_zrf(first, second), abs=1e-6)
    assert zrf_legacy(first, second) == pytest.approx(published_zrf(first.double(), second.double()), abs=1e-13)


def test_legacy_zrf_computed_by_hand():
    # m = (1/2, 1/2), p = (3/4, 1/4), q mirrored: KL(m ‖ p) = KL(m ‖ q) = ½ ln(2/3) + ½ ln 2 nats, over two classes.
    found = zrf_legacy(logits_of([0.75, 0.25]), logits_of([0.25, 0.75]))
    assert found == pytest.approx(1 - 0.5 * math.log(4 / 3) / 2, rel=1e-12)


def test_legacy_zrf_hides_what_zrf_shows():
    """The reason to ship both: a confident network against a flat one."""
    first, second = pair(scale=5.0)
    assert zrf_legacy(first, second) - zrf(first, second) > 0.1


def test_extreme_logits_agree_with_exact_arithmetic():
    """Rows with a masked class, against the definitions in decimals of 60 digits, where exp(-1e4) is no 0."""
    getcontext().prec = 60
    first = torch.tensor([[2.0, -1e4, 0.5], [-1e4, -1e4, 3.0], [1.0, 2.0, 3.0]])
    second = torch.tensor([[0.0, 1.0, 0.5], [-1e4, 5.0, -2.0], [1e4, 0.0, -1e4]])
    true, legacy = Decimal(0), Decimal(0)
    for p_row, q_row in zip(first.tolist(), second.tolist(), strict=True):
        p, q = exact_softmax(p_row), exact_softmax(q_row)
        m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        true += (exact_divergence(p, m) + exact_divergence(q, m)) / 2 / Decimal(2).ln() / 3
        legacy += (exact_divergence(m, p) + exact_divergence(m, q)) / 2 / 3 / 3
    assert js_divergence(first, second) == pytest.approx(float(true), rel=1e-12)
    assert zrf_legacy(first, second) == pytest.approx(1 - float(legacy), rel=1e-12)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("low", [-1e4, -3e38])
def test_masked_classes_give_no_nan(metric: Metric, low: float):
    first, second = pair()
    first[:, 3] = low
    assert math.isfinite(metric(first, second))
    assert math.isfinite(metric(second, first))
    second[:, 3] = low
    assert math.isfinite(metric(first, second))


@pytest.mark.parametrize("metric", ALL)
def test_all_metrics_ignore_what_a_softmax_ignores_and_the_order_of_samples(metric: Metric):
    first, second = (values.double() for values in pair())
    found = metric(first, second)
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(1))
    columns = torch.randperm(first.shape[1], generator=torch.Generator().manual_seed(2))
    assert metric(first + 7.0, second - 3.0) == pytest.approx(found, rel=1e-9)
    assert metric(first[order], second[order]) == pytest.approx(found, rel=1e-9)
    assert metric(first[:, columns], second[:, columns]) == pytest.approx(found, rel=1e-9)
    assert metric(second, first) == pytest.approx(found, rel=1e-9)
    # Pairing matters: the same outputs on other samples are no agreement.
    assert metric(first[order], second) != pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize(("metric", "value"), AT_EQUALITY)
def test_outputs_that_agree(metric: Metric, value: float):
    first, _ = pair()
    assert metric(first, first + 2.0**-3) == pytest.approx(value, abs=1e-6)
    assert metric(first, first) == value


def test_ranges_are_kept_where_outputs_share_nothing():
    first, second = torch.full((5, 4), -1e4), torch.full((5, 4), -1e4)
    first[:, 0], second[:, 1] = 0.0, 0.0
    assert js_divergence(first, second) == 1
    assert zrf(first, second) == 0
    assert activation_distance_l1(first, second) == 2
    assert activation_distance_l2(first, second) == pytest.approx(math.sqrt(2), rel=1e-12)


def test_rounding_passes_neither_end_of_the_range():
    first, second = pair(samples=300)
    apart, other = first.clone(), second.clone()
    apart[:, :5] = -1e4
    other[:, 5:] = -1e4
    for row in range(300):
        one = slice(row, row + 1)
        assert 0 <= js_divergence(first[one], first[one] * (1 + 1e-7)) < 1e-12
        assert 1 - 1e-12 < js_divergence(apart[one], other[one]) <= 1
        assert zrf(apart[one], other[one]) >= 0


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_diverged_outputs_have_no_distance(metric: Metric, bad: float, side: int):
    both = pair(samples=3)
    both[side][1, 2] = bad
    with pytest.raises(MetricUnavailable, match="logits are NaN or infinite"):
        metric(*both)


@pytest.mark.parametrize("metric", ALL)
def test_no_samples_have_no_distance(metric: Metric):
    with pytest.raises(MetricUnavailable, match="there are no logits"):
        metric(torch.zeros(0, 10), torch.zeros(0, 10))


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("shapes", [((4, 3), (1, 3)), ((4, 3), (4, 1)), ((3,), (3,))])
def test_other_shapes_are_refused(metric: Metric, shapes: tuple[tuple[int, ...], tuple[int, ...]]):
    with pytest.raises(ValueError, match=r"must be \(samples, classes\)"):
        metric(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


@pytest.mark.parametrize("metric", ALL)
def test_no_warning_reaches_the_user(metric: Metric):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric(*pair())


def test_probabilities_next_to_the_smallest_number_do_not_count_as_a_whole_bit() -> None:
    """Softmax of a gap of 744.2 and more is 5e-324, the half of which is 0."""
    gaps = torch.tensor([743.5, 744.2, 745.0, 745.2], dtype=torch.float64)
    logits = torch.stack([torch.zeros(4, dtype=torch.float64), -gaps], dim=1)
    for one in logits:
        for other in (logits[0], torch.tensor([0.0, -800.0])):
            assert 0 <= js_divergence(one[None], other[None]) < 1e-300
