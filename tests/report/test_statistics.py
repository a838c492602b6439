"""Means, paired differences, equivalence with retraining and its margin: against scipy, by hand and by simulation."""

import dataclasses
import math
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from unsir_bench.errors import MetricUnavailable
from unsir_bench.report import statistics
from unsir_bench.report.statistics import (
    EquivalenceVerdict,
    default_margin,
    equivalence,
    gaps_by_seed,
    mean_and_half_width,
    mean_interval,
    paired_difference,
)

# Student's t from printed tables, by (degrees of freedom, two-sided confidence).
T = {(1, 0.95): 12.7062, (2, 0.90): 2.91999, (2, 0.95): 4.30265}
# Gaps of mean c, standard deviation 0.01 and n = 3, so a standard error of 0.0057735.
SPREAD = (-0.01, 0.0, 0.01)
INNER = T[2, 0.90] * 0.01 / math.sqrt(3)
OUTER = T[2, 0.95] * 0.01 / math.sqrt(3)


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def drawn(n: int, mean: float = 0.0, spread: float = 0.01, seed: int = 0) -> dict[int, float]:
    return dict(enumerate(np.random.default_rng([n, seed]).normal(mean, spread, n).tolist()))


def around(center: float) -> dict[int, float]:
    return {seed: center + offset for seed, offset in enumerate(SPREAD)}


def verdict(gaps: dict[int, float], margin: float = 0.05) -> EquivalenceVerdict:
    return equivalence(gaps, margin).verdict


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


# Paired differences


def test_the_paired_difference_by_hand():
    """Differences 1, 2, 3: mean 2, s = 1."""
    difference = paired_difference({0: 11.0, 1: 5.0, 2: 9.0}, {0: 10.0, 1: 3.0, 2: 6.0})
    assert (difference.mean, difference.n) == (2, 3)
    assert difference.half_width == pytest.approx(T[2, 0.95] / math.sqrt(3), abs=1e-4)


@pytest.mark.parametrize("n", [2, 5, 20])
def test_the_paired_difference_is_that_of_scipy(n: int):
    values, reference = drawn(n, 0.8), drawn(n, 0.7, seed=1)
    test = stats.ttest_rel(list(values.values()), list(reference.values()))
    difference = paired_difference(values, reference, 0.9)
    expected = test.confidence_interval(0.9)
    assert (difference.low, difference.high) == pytest.approx((expected.low, expected.high))
    # scipy's p-value is below 5 % exactly where the 95 % interval leaves zero out.
    ninety_five = paired_difference(values, reference)
    assert (test.pvalue < 0.05) == (not ninety_five.low <= 0 <= ninety_five.high)


def test_what_the_seeds_share_does_not_widen_the_interval():
    shared = drawn(10, spread=5)
    difference = paired_difference({seed: value + 0.5 for seed, value in shared.items()}, shared)
    assert (difference.mean, difference.half_width) == pytest.approx((0.5, 0), abs=1e-12)


def test_pairs_go_by_seed_and_not_by_place():
    assert gaps_by_seed({2: 20.0, 0: 1.0, 1: 10.0}, {0: 1.0, 1: 9.0, 2: 18.0}) == {0: 0, 1: 1, 2: 2}


def test_only_shared_seeds_count():
    values, reference = {0: 1.0, 1: 3.0, 2: 99.0}, {3: -99.0, 1: 1.0, 0: 0.0}
    assert gaps_by_seed(values, reference) == {0: 1.0, 1: 2.0}
    assert paired_difference(values, reference).mean == 1.5
    assert paired_difference(values, reference).n == 2


def test_the_order_of_seeds_changes_no_bit():
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1; seeds this far apart do not leave a set in their order."""
    values = {7: 0.1, 1_000_003: 0.2, 2**40 + 1: 0.3}
    turned = dict(reversed(values.items()))
    reference = dict.fromkeys(values, 0.0)
    assert sum(values.values()) != sum(turned.values())
    assert list(values.keys() & reference.keys()) != sorted(values)
    assert list(gaps_by_seed(turned, reference)) == sorted(values)
    assert paired_difference(turned, reference) == paired_difference(values, reference)
    assert equivalence(turned, 0.01) == equivalence(values, 0.01)
    assert default_margin(turned, 0.01) == default_margin(values, 0.01)


def test_swapping_the_two_turns_the_sign():
    values, reference = drawn(5), drawn(5, seed=1)
    one, other = paired_difference(values, reference), paired_difference(reference, values)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_without_shared_seeds_there_is_no_difference():
    difference = paired_difference({0: 1.0}, {1: 1.0})
    assert difference.n == 0
    assert math.isnan(difference.mean)


def test_a_nan_in_a_seed_that_is_not_shared_does_no_harm():
    assert paired_difference({0: 1.0, 1: math.nan}, {0: 0.0}).mean == 1
    with pytest.raises(MetricUnavailable):
        paired_difference({0: 1.0, 1: math.nan}, {0: 0.0, 1: 0.0})


# Equivalence with retraining


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("center", "expected"),
    [
        (0.0, EquivalenceVerdict.INDISTINGUISHABLE),
        (0.05 - INNER - 1e-5, EquivalenceVerdict.INDISTINGUISHABLE),
        (0.05 - INNER + 1e-5, EquivalenceVerdict.TOO_FEW_SEEDS),
        (0.05, EquivalenceVerdict.TOO_FEW_SEEDS),
        (0.05 + INNER + 1e-5, EquivalenceVerdict.TOO_FEW_SEEDS),
        (0.05 + OUTER - 1e-5, EquivalenceVerdict.TOO_FEW_SEEDS),
        (0.05 + OUTER + 1e-5, EquivalenceVerdict.DISTINGUISHABLE),
        (0.9, EquivalenceVerdict.DISTINGUISHABLE),
    ],
)
def test_the_verdict_changes_where_printed_tables_say(center: float, expected: EquivalenceVerdict, sign: int):
    assert verdict({seed: sign * gap for seed, gap in around(center).items()}) == expected


def test_the_intervals_behind_a_verdict_by_hand():
    result = equivalence(around(0.02), 0.05)
    assert (result.inner.mean, result.inner.half_width) == pytest.approx((0.02, INNER), abs=1e-6)
    assert (result.outer.mean, result.outer.half_width) == pytest.approx((0.02, OUTER), abs=1e-6)
    assert (result.inner.confidence, result.outer.confidence) == pytest.approx((0.9, 0.95))
    assert (result.margin, result.alpha, result.inner.n, result.outer.n) == (0.05, 0.05, 3, 3)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("n", [2, 4, 9])
def test_indistinguishable_is_where_both_one_sided_tests_of_scipy_reject(n: int, alpha: float):
    seen = set()
    for seed, center in enumerate(np.linspace(-0.06, 0.06, 41)):
        gaps = drawn(n, center, seed=seed)
        values = list(gaps.values())
        above = stats.ttest_1samp(values, -0.03, alternative="greater").pvalue
        below = stats.ttest_1samp(values, 0.03, alternative="less").pvalue
        rejected = max(above, below) < alpha
        assert (equivalence(gaps, 0.03, alpha).verdict == EquivalenceVerdict.INDISTINGUISHABLE) == rejected
        seen.add(rejected)
    assert seen == {True, False} or (n, alpha) == (2, 0.01)


@pytest.mark.parametrize("n", [3, 9])
def test_distinguishable_is_where_the_two_sided_test_of_scipy_rejects_the_nearer_bound(n: int):
    seen = set()
    for seed, center in enumerate(np.linspace(-0.1, 0.1, 41)):
        gaps = drawn(n, center, seed=seed)
        mean = np.mean(list(gaps.values()))
        bound = math.copysign(0.03, mean)
        rejected = abs(mean) > 0.03 and stats.ttest_1samp(list(gaps.values()), bound).pvalue < 0.05
        assert (verdict(gaps, 0.03) == EquivalenceVerdict.DISTINGUISHABLE) == rejected
        seen.add(bool(rejected))
    assert seen == {True, False}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_equal_gaps_are_judged_by_their_value_alone(n: int, sign: int):
    def of(gap: float) -> EquivalenceVerdict:
        return verdict(dict.fromkeys(range(n), sign * gap), margin=0.01)

    assert of(0.0) == of(0.00999) == EquivalenceVerdict.INDISTINGUISHABLE
    assert of(0.01001) == of(1.0) == EquivalenceVerdict.DISTINGUISHABLE
    assert of(0.01) == EquivalenceVerdict.TOO_FEW_SEEDS


@pytest.mark.parametrize(("method", "retrain"), [(0.03, 0.02), (0.05, 0.04), (0.9, 0.89), (0.02, 0.03), (0.04, 0.05)])
def test_rounding_does_not_decide_for_a_gap_that_is_the_margin(method: float, retrain: float):
    gaps = gaps_by_seed({0: method, 1: method}, {0: retrain, 1: retrain})
    assert gaps[0] not in (0.01, -0.01)
    assert verdict(gaps, margin=0.01) == EquivalenceVerdict.TOO_FEW_SEEDS


def test_gaps_that_differ_by_rounding_alone_do_not_warn():
    gaps = {0: 0.3 - 0.2, 1: 0.1, 2: 0.4 - 0.3}
    assert len(set(gaps.values())) == 3
    assert verdict(gaps, margin=0.2) == EquivalenceVerdict.INDISTINGUISHABLE
    assert verdict(gaps, margin=0.05) == EquivalenceVerdict.DISTINGUISHABLE


@pytest.mark.parametrize("gap", [0.0, 1.0])
def test_fewer_than_two_seeds_are_too_few(gap: float):
    assert verdict({7: gap}) == EquivalenceVerdict.TOO_FEW_SEEDS
    assert verdict({}) == EquivalenceVerdict.TOO_FEW_SEEDS


def test_no_significant_difference_is_not_equality():
    """Two seeds far apart: their difference from zero is not significant, and nothing is shown."""
    gaps = {0: -0.2, 1: 0.3}
    assert stats.ttest_1samp(list(gaps.values()), 0).pvalue > 0.5
    assert verdict(gaps) == EquivalenceVerdict.TOO_FEW_SEEDS


def test_a_significant_difference_within_the_margin_does_not_matter():
    gaps = {0: 0.010, 1: 0.011, 2: 0.012}
    assert stats.ttest_1samp(list(gaps.values()), 0).pvalue < 0.01
    assert verdict(gaps) == EquivalenceVerdict.INDISTINGUISHABLE


@pytest.mark.parametrize("scale", [1e-3, 100])
def test_the_unit_does_not_matter(scale: float):
    for center in (0.0, 0.04, 0.05, 0.2):
        scaled = {seed: gap * scale for seed, gap in around(center).items()}
        assert verdict(scaled, 0.05 * scale) == verdict(around(center), 0.05)


def shares(center: float, trials: int) -> dict[EquivalenceVerdict, float]:
    samples = np.random.default_rng(2).normal(center, 0.01, (trials, 5)).tolist()
    verdicts = [verdict(dict(enumerate(sample))) for sample in samples]
    return {name: verdicts.count(name) / trials for name in EquivalenceVerdict}


def test_a_method_at_the_margin_is_misjudged_as_often_as_stated():
    """Binomial of 1,000 trials at 5 % (one-sided) and 2.5 %; the tolerances are four standard deviations."""
    share = shares(0.05, 1000)
    assert share[EquivalenceVerdict.INDISTINGUISHABLE] == pytest.approx(0.05, abs=0.0276)
    assert share[EquivalenceVerdict.DISTINGUISHABLE] == pytest.approx(0.025, abs=0.0198)


def test_clear_cases_are_recognised():
    """The margin is five standard deviations, of five seeds: either test has a power of practically one."""
    assert shares(0.0, 200)[EquivalenceVerdict.INDISTINGUISHABLE] > 0.99
    assert shares(0.1, 200)[EquivalenceVerdict.DISTINGUISHABLE] > 0.99


@pytest.mark.parametrize("margin", [0.0, -0.01, math.nan, math.inf])
def test_a_margin_that_is_not_positive_is_refused(margin: float):
    with pytest.raises(ValueError, match="margin must be a positive number"):
        equivalence({0: 0.0, 1: 0.0}, margin)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 5.0, math.nan])
def test_a_level_that_is_no_share_below_a_half_is_refused(alpha: float):
    with pytest.raises(ValueError, match="alpha"):
        equivalence({0: 0.0, 1: 0.0}, 0.01, alpha)


def test_gaps_that_are_no_numbers_get_no_verdict():
    with pytest.raises(MetricUnavailable):
        equivalence({0: 0.0, 1: math.nan}, 0.01)


def test_the_verdicts_are_the_words_of_the_report():
    assert [str(one) for one in EquivalenceVerdict] == [
        "indistinguishable from retrain",
        "distinguishable",
        "too few seeds to say",
    ]


# The margin


def test_the_margin_by_hand():
    """Absolute gaps 0.02, 0.04: mean 0.03."""
    margin = default_margin({0: 0.02, 1: -0.04}, minimum=0.01)
    assert margin.value == pytest.approx(0.03)
    assert (margin.floor.mean, margin.floor.n, margin.minimum) == (pytest.approx(0.03), 2, 0.01)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_the_margin_is_the_mean_absolute_gap(n: int):
    gaps = drawn(n)
    assert default_margin(gaps, 1e-6).value == pytest.approx(np.abs(list(gaps.values())).mean())


def test_the_margin_is_never_below_the_minimum():
    assert default_margin({0: 0.001, 1: 0.0011}, 0.01).value == 0.01
    assert default_margin({0: 0.0, 1: 0.0, 2: 0.0}, 0.01).value == 0.01


@pytest.mark.parametrize("gaps", [{}, {0: 0.5}])
def test_fewer_than_two_floor_gaps_leave_the_minimum(gaps: dict[int, float]):
    margin = default_margin(gaps, 0.01)
    assert margin.value == 0.01
    assert margin.floor.n == len(gaps)


def test_the_signs_of_floor_gaps_do_not_matter():
    gaps = drawn(6)
    turned = {seed: -gap if seed % 2 else gap for seed, gap in gaps.items()}
    assert default_margin(turned, 0.001) == default_margin(gaps, 0.001)


def test_equal_floor_gaps_give_their_value_exactly():
    assert default_margin(dict.fromkeys(range(3), -0.1), 0.01).value == 0.1


@pytest.mark.parametrize("minimum", [0.0, -1.0, math.nan, math.inf])
def test_a_minimum_that_is_not_positive_is_refused(minimum: float):
    with pytest.raises(ValueError, match="minimum must be a positive number"):
        default_margin({0: 0.1, 1: 0.2}, minimum)


def test_floor_gaps_that_are_no_numbers_give_no_margin():
    with pytest.raises(MetricUnavailable):
        default_margin({0: 0.1, 1: math.inf}, 0.01)


def test_retraining_with_another_seed_is_indistinguishable_from_retraining():
    """Gaps of a method that only retrains, in units of their spread, of 30 seeds.

    The margin is about 0.80 and the inner half-width 1.70 / √30 = 0.31, which leaves 0.49, or 2.7 standard errors, for
    the mean.
    """
    rows = np.random.default_rng(3).normal(0, 0.02, (200, 2, 30)).tolist()
    verdicts = [
        verdict(dict(enumerate(gaps)), default_margin(dict(enumerate(floor)), 0.001).value) for gaps, floor in rows
    ]
    assert verdicts.count(EquivalenceVerdict.DISTINGUISHABLE) == 0
    assert verdicts.count(EquivalenceVerdict.INDISTINGUISHABLE) / len(verdicts) > 0.95


@pytest.mark.parametrize("name", ["MeanInterval", "Equivalence", "Margin"])
def test_results_cannot_be_changed(name: str):
    results = {
        "MeanInterval": mean_interval([1.0]),
        "Equivalence": equivalence({}, 0.1),
        "Margin": default_margin({}, 0.1),
    }
    result = results[name]
    assert isinstance(result, getattr(statistics, name))
    for field in dataclasses.fields(result):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, field.name, 0)
