"""Means and their intervals: against scipy, by hand and by simulation."""

import math
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from unsir_bench.errors import MetricUnavailable
from unsir_bench.report.statistics import mean_and_half_width, mean_interval, ratio_in_words, ratio_interval

# Student's t from printed tables, by (degrees of freedom, two-sided confidence).
T = {(1, 0.95): 12.7062, (2, 0.95): 4.30265}


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def drawn(n: int, mean: float = 0.0, spread: float = 0.01, seed: int = 0) -> dict[int, float]:
    return dict(enumerate(np.random.default_rng([n, seed]).normal(mean, spread, n).tolist()))


# Mean and interval


def test_the_95_percent_interval_is_the_default():
    mean, half = mean_and_half_width([1.0, 2.0, 3.0])
    assert (mean, half) == pytest.approx((2, T[2, 0.95] / math.sqrt(3)), abs=1e-4)
    assert mean_interval([1.0, 2.0, 3.0]).half_width == half


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_interval_is_that_of_scipy(n: int, confidence: float):
    values = list(drawn(n, 50, 7).values())
    expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    interval = mean_interval(values, confidence)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert (interval.n, interval.confidence) == (n, confidence)


@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3, 1e6])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_equal_values_have_a_point_for_their_interval(value: float, n: int):
    interval = mean_interval([value] * n)
    assert (interval.low, interval.mean, interval.high) == (value, value, value)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_values_have_no_interval(n: int):
    interval = mean_interval([2.5] * n)
    assert interval.n == n
    assert math.isnan(interval.mean) == (n == 0)
    assert all(map(math.isnan, (interval.half_width, interval.low, interval.high)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("others", [[], [1.0], [1.0, 2.0]])
def test_values_that_are_no_numbers_are_refused(bad: float, others: list[float]):
    with pytest.raises(MetricUnavailable, match="NaN or infinite"):
        mean_interval([*others, bad])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_a_confidence_that_is_no_share_is_refused(confidence: float):
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([1.0, 2.0], confidence)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """Binomial of 800 trials at 95 %: standard deviation 0.77 %, so 3 % are four of them."""
    samples = np.random.default_rng(1).normal(3, 2, (800, 4)).tolist()
    covered = [interval.low <= 3 <= interval.high for interval in map(mean_interval, samples)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("count", [2, 5, 30])
def test_interval_is_that_of_scipy(count: int):
    values = np.random.default_rng(count).normal(50, 7, count)
    mean, half = mean_and_half_width(values.tolist())
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=values.std(ddof=1) / math.sqrt(count))
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_one_value_has_no_interval():
    mean, half = mean_and_half_width([3.5])
    assert mean == 3.5
    assert math.isnan(half)


# Ratios


def test_twice_and_half_as_fast_are_on_average_as_fast():
    interval = ratio_interval([0.5, 2.0])
    assert interval.mean == pytest.approx(1.0)
    assert interval.high == pytest.approx(2 ** T[1, 0.95], rel=1e-3)
    assert interval.low * interval.high == pytest.approx(1.0)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_ratio_and_its_inverse_have_inverse_intervals(n: int):
    values = np.exp(list(drawn(n, 3, 0.5).values()))
    here, there = ratio_interval(values.tolist()), ratio_interval((1 / values).tolist())
    assert here.mean == pytest.approx(stats.gmean(values))
    assert (1 / there.high, 1 / there.low) == pytest.approx((here.low, here.high))


def test_an_end_beyond_all_floats_is_infinite():
    assert ratio_interval([1.0, 1e300]).high == math.inf


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_ratios_that_are_not_positive_numbers_are_refused(bad: float):
    with pytest.raises(MetricUnavailable, match="not positive"):
        ratio_interval([1.0, bad])


@pytest.mark.parametrize(
    ("values", "words"),
    [([], "–"), ([2.5], "2.50"), ([2.5, 2.5], "2.50 ± 0.00"), ([3.0, 6.0], "4.24 [0.05, 346.83]")],
)
def test_ratios_in_words(values: list[float], words: str):
    assert ratio_in_words(values) == words
