"""Verdicts against retraining: by hand, against scipy and statsmodels, and how often they are wrong (simulation)."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from unsir_bench.errors import MetricUnavailable
from unsir_bench.report.binomial import TestShares, clopper_pearson, gap_limits, samples_behind, smallest_alpha, widened
from unsir_bench.report.equivalence import EquivalenceVerdict, Gap, Judged, _holm, judge, retrain_floor, sign_flip
from unsir_bench.report.samples import gap_interval

EQUIVALENT, DIFFERENT = EquivalenceVerdict.EQUIVALENT, EquivalenceVerdict.DIFFERENT
UNDECIDED, UNDECIDABLE = EquivalenceVerdict.UNDECIDED, EquivalenceVerdict.UNDECIDABLE
SPREAD = (-0.01, 0.0, 0.01)  # standard deviation 0.01
# Student's t of 2 degrees of freedom, from printed tables.
INNER, OUTER = 2.91999 * 0.01 / math.sqrt(3), 4.30265 * 0.01 / math.sqrt(3)


def verdict(gap: Gap) -> EquivalenceVerdict:
    return judge({0: gap})[0].verdict


def around(center: float, margin: float = 0.05) -> Gap:
    return Gap([center + offset for offset in SPREAD], margin)


# Exact binomial limits


@pytest.mark.parametrize(("hits", "samples"), [(0, 10), (10, 200), (5, 39), (39, 39), (1, 1)])
@pytest.mark.parametrize("alpha", [0.025, 0.05])
def test_limits_are_those_of_scipy(hits: int, samples: int, alpha: float) -> None:
    expected = stats.binomtest(hits, samples).proportion_ci(1 - 2 * alpha, method="exact")
    assert clopper_pearson(hits / samples, samples, alpha) == pytest.approx((expected.low, expected.high))


def test_no_hit_of_ten_images_leaves_room_up_to_31_percent() -> None:
    assert [round(float(end), 3) for end in clopper_pearson(0.0, 10, 0.025)] == [0.0, 0.308]
    assert [round(float(end), 3) for end in clopper_pearson(0.05, 200, 0.025)] == [0.024, 0.09]
    assert widened((0.0, 0.0), 0.0, [4, 6], 0.025) == pytest.approx((0, 0.3085), abs=1e-4)
    assert widened((-0.2, 0.9), 0.0, [10], 0.025) == (-0.2, 0.9)


@pytest.mark.parametrize(("share", "samples"), [(1.1, 10), (-0.1, 10), (0.5, 0), (math.nan, 10)])
def test_what_is_no_share_of_samples_is_refused(share: float, samples: int) -> None:
    with pytest.raises(ValueError, match="shares must be"):
        clopper_pearson(share, samples, 0.025)


def test_against_a_retrained_model_that_is_never_right_the_gap_has_the_methods_own_limit() -> None:
    low, high = gap_limits(0.05, 0.0, 200, 0.05)
    assert float(high) == pytest.approx(stats.beta.ppf(0.95, 11, 190))
    swapped = gap_limits(0.0, 0.05, 200, 0.05)
    assert (float(swapped[0]), float(swapped[1])) == pytest.approx((-float(high), -float(low)))


def test_the_smallest_alpha_is_the_exact_p_value() -> None:
    """0 of 100 where 5 % are expected: 0.95 to the power of 100."""
    assert smallest_alpha(TestShares(0.0, 0.0, 100), -0.05, 0.05, inside=True) == pytest.approx(0.95**100, rel=1e-3)
    above = smallest_alpha(TestShares(1.0, 0.0, 10), -0.05, 0.05, inside=False)
    assert above < 1e-4
    assert smallest_alpha(TestShares(0.5, 0.0, 10), -0.05, 0.05, inside=True) == 0.5


def test_the_samples_are_the_least_common_denominator_of_all_shares() -> None:
    assert samples_behind([3 / 36, 5 / 36, 1 / 4]) == 36
    assert samples_behind([0.0, 1.0]) is None and samples_behind([]) is None
    assert samples_behind([0.123456789, 0.33333]) is None  # means over something else


# The verdict of one gap


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("center", "expected"),
    [
        (0.0, EQUIVALENT), (0.05 - INNER - 1e-5, EQUIVALENT), (0.05 - INNER + 1e-5, UNDECIDED), (0.05, UNDECIDED),
        (0.05 + OUTER - 1e-5, UNDECIDED), (0.05 + OUTER + 1e-5, DIFFERENT), (0.9, DIFFERENT),
    ],
)  # fmt: skip
def test_the_verdict_changes_where_printed_tables_say(center: float, expected: EquivalenceVerdict, sign: int) -> None:
    assert verdict(around(sign * center)) == expected


@pytest.mark.parametrize("n", [2, 4, 9])
def test_p_values_are_those_of_scipy(n: int) -> None:
    for center in (-0.06, -0.02, 0.0, 0.04):
        gap = Gap(np.random.default_rng(n).normal(center, 0.01, n).tolist(), 0.03)
        above = stats.ttest_1samp(gap.values, -0.03, alternative="greater").pvalue
        below = stats.ttest_1samp(gap.values, 0.03, alternative="less").pvalue
        assert gap.p_equivalent == pytest.approx(max(above, below))
        side = math.copysign(1, gap.mean)
        beyond = stats.ttest_1samp([side * value for value in gap.values], 0.03, alternative="greater").pvalue
        assert gap.p_different == pytest.approx(min(1.0, 2 * beyond))


def test_no_spread_is_no_certainty() -> None:
    silent = judge({0: Gap([0.0] * 10, 0.03)})[0]
    assert (silent.verdict, silent.why) == (UNDECIDED, "no spread")
    few = judge({0: Gap([0.0] * 10, 0.03, shares=TestShares(0.0, 0.0, 39))})[0]
    assert (few.verdict, few.why) == (UNDECIDABLE, "samples")
    assert verdict(Gap([0.0] * 10, 0.03, shares=TestShares(0.0, 0.0, 1000))) == EQUIVALENT
    assert verdict(Gap([1.0] * 3, 0.03, shares=TestShares(1.0, 0.0, 39))) == DIFFERENT


def test_the_interval_is_no_narrower_than_the_exact_one() -> None:
    interval = Gap([0.0] * 3, 0.03, shares=TestShares(0.0, 0.0, 10)).interval()
    assert interval is not None and interval.high == pytest.approx(0.3085, abs=1e-4)
    wide = Gap([-0.2, 0.0, 0.2], 0.03)
    with_samples = Gap(wide.values, 0.03, shares=TestShares(0.5, 0.5, 10_000))
    assert wide.interval() == with_samples.interval()
    assert Gap([0.1], 0.03).interval() is None


def test_the_interval_is_that_of_the_tables_and_stays_within_what_shares_can_differ_by() -> None:
    own = [1.0, 0.7, 1.0]
    found = Gap(own, 0.03, shares=TestShares(0.9, 0.0, 39)).interval()
    assert found == gap_interval(own, own, 39) and found.high == 1.0
    assert found.low == pytest.approx(0.9 - 4.30265 * math.sqrt(0.03) / math.sqrt(3), abs=1e-5)
    one_sided = Gap([1.0] * 3, 0.03, shares=TestShares(1.0, 0.0, 39)).interval()
    assert one_sided is not None and (round(one_sided.low, 2), one_sided.high) == (0.87, 1.0)


def test_samples_that_allow_a_verdict_once_others_are_settled_are_not_too_few_whatever_the_seeds() -> None:
    """2 of 250 within 3 points: p = 0.03, enough for Holm's last test and not for the first of twenty."""
    rows = [0.0, 0.0, 0.0249]
    clear = {place: around(0.0, margin=1.0) for place in range(1, 20)}

    def judged(repeats: int) -> Judged:
        return judge({0: Gap(rows * repeats, 0.03, shares=TestShares(0.0083, 0.0, 250)), **clear})[0]

    assert judged(1) == Judged(UNDECIDED, why="samples")
    assert judged(4).verdict == EQUIVALENT


def test_an_undecided_verdict_says_how_many_seeds_would_settle_it() -> None:
    judged = judge({0: around(0.04)})[0]
    n = judged.seeds_needed
    assert judged.verdict == UNDECIDED and n is not None

    def room(count: int) -> float:
        return 0.05 - 0.04 - float(stats.t.ppf(0.95, count - 1)) * 0.01 / math.sqrt(count)

    assert room(n) > 0 >= room(n - 1)
    at_the_margin = judge({0: around(0.05)})[0]
    assert (at_the_margin.seeds_needed, at_the_margin.why) == (None, "n > 1000")
    assert judge({0: Gap([0.2], 0.05)})[0] == Judged(UNDECIDED)


def test_seeds_needed_grow_with_the_family_and_for_a_two_sided_test() -> None:
    """One standard deviation from the margin, t / √n must fall below 1; t from printed tables.

    At 95 %: 2.353 / √4 = 1.18 and 2.132 / √5 = 0.95. At 97.5 %: 2.571 / √6 = 1.05 and 2.447 / √7 = 0.92.
    """
    assert judge({0: around(0.04)})[0].seeds_needed == 5
    assert judge({0: around(0.04), 1: around(0.05)})[0].seeds_needed == 7
    assert judge({0: around(0.06)})[0].seeds_needed == 7


def test_where_retrained_models_differ_by_more_than_the_margin_nothing_is_equivalent() -> None:
    small = Gap([0.001, 0.0, -0.001], 0.01, floor=0.03)
    assert judge({0: small})[0] == Judged(UNDECIDABLE, why="floor")
    assert verdict(Gap([0.02, 0.021, 0.022], 0.01, floor=0.03)) == UNDECIDABLE
    assert verdict(Gap([0.139, 0.14, 0.141], 0.01, floor=0.03)) == DIFFERENT


def test_the_floor_is_over_all_pairs() -> None:
    assert retrain_floor({0: 0.0, 1: 0.1, 2: 0.4}) == pytest.approx((0.1 + 0.3 + 0.4) / 3)
    assert math.isnan(retrain_floor({0: 0.5}))


def test_the_sign_flip_test_by_hand() -> None:
    """|±1 ±2 ±3| is at least 6 in 2 of 8 ways; at least 4 in 4 of them."""
    assert (sign_flip([1, 2, 3]), sign_flip([-1, 2, 3])) == (0.25, 0.5)
    assert sign_flip([0.0, 0.0]) == 1.0
    assert sign_flip([1.0] * 9) == 2 / 2**9
    assert Gap([0.1] * 10, 0.05).p_sign_flip is None and Gap([0.1], 0.05).p_sign_flip is None


@pytest.mark.parametrize("size", [0, 1, 2, 20])
def test_holm_rejects_what_statsmodels_rejects(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels does with each call, half a second in a large process
    rng = np.random.default_rng(size)
    for p_values in rng.choice([*rng.uniform(0, 0.1, 30), 0.05 / 20, 0.05, 1.0], (200, size)).tolist():
        expected = multipletests(p_values, 0.05, method="holm")[0].tolist() if p_values else []
        assert _holm(p_values, 0.05) == expected


def test_holm_corrects_a_family() -> None:
    """By hand: one gap whose p-value is 0.03 is equivalent alone, and is not beside four that are not."""
    t = float(stats.t.isf(0.03, 2))
    near = Gap([0.05 - t * 0.01 / math.sqrt(3) + offset for offset in SPREAD], 0.05)
    assert near.p_equivalent == pytest.approx(0.03)
    assert verdict(near) == EQUIVALENT
    assert judge({0: near, **{place: around(0.05) for place in range(1, 5)}})[0].verdict == UNDECIDED


@pytest.mark.parametrize("margin", [0.0, -0.01, math.nan, math.inf])
def test_a_margin_that_is_not_positive_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin must be a positive number"):
        Gap([0.0, 0.0], margin)


def test_values_and_levels_that_are_none_are_refused() -> None:
    with pytest.raises(MetricUnavailable, match="NaN"):
        Gap([0.0, math.nan], 0.1)
    with pytest.raises(ValueError, match="alpha"):
        judge({0: around(0)}, 0.5)
    assert judge({}) == {}


# How often verdicts are wrong


@pytest.mark.parametrize("n", [3, 5, 10])
def test_at_the_margin_equivalent_is_said_in_at_most_5_percent(n: int) -> None:
    """1,000 normal samples: a standard deviation of 0.7 %, of which four are allowed."""
    rows = np.random.default_rng(n).normal(0.05, 0.02, (1000, n)).tolist()
    said = np.mean([Gap(row, 0.05).p_equivalent <= 0.05 for row in rows])
    assert 0.02 < said < 0.05 + 0.028


@pytest.mark.parametrize("samples", [10, 39, 100, 300, 1000])
@pytest.mark.parametrize("margin", [0.03, 0.1])
def test_accuracies_without_spread_are_called_equivalent_in_at_most_5_percent(samples: int, margin: float) -> None:
    """Exact: every seed gives the same number of hits, binomial at the margin, and retraining gives none."""
    hits = np.arange(samples + 1)
    chance = stats.binom.pmf(hits, samples, margin)
    said = 0.0
    for k in hits[: math.ceil(margin * samples) + 1]:
        gap = Gap([k / samples] * 5, margin, shares=TestShares(k / samples, 0.0, samples))
        said += float(chance[k]) * (gap.p_equivalent <= 0.05)
    assert said <= 0.05


@pytest.mark.parametrize("retrained", [0.5, 0.9])
@pytest.mark.parametrize("samples", [10, 39, 100, 300])
def test_so_are_those_of_two_models_that_both_err(samples: int, retrained: float) -> None:
    """Exact over both numbers of hits; the difference of two exact limits keeps the level to within a percent."""
    hits = np.arange(samples + 1)
    own, theirs = np.meshgrid(hits / samples, hits / samples, indexing="ij")
    chance = np.outer(stats.binom.pmf(hits, samples, retrained - 0.1), stats.binom.pmf(hits, samples, retrained))
    low, high = gap_limits(own, theirs, samples, 0.05)
    assert float(chance[(low > -0.1) & (high < 0.1)].sum()) <= 0.06


@pytest.mark.parametrize("n", [3, 5, 10])
def test_at_the_margin_different_is_said_in_at_most_5_percent_of_families(n: int) -> None:
    """100 families of 20 gaps: a standard deviation of 2.2 %. Without correction a third of the families would err."""
    draws = np.random.default_rng(n).normal(0.05, 0.02, (100, 20, n)).tolist()
    families = [{place: Gap(row, 0.05) for place, row in enumerate(family)} for family in draws]
    wrong = [any(one.verdict == DIFFERENT for one in judge(family).values()) for family in families]
    careless = [any(gap.p_different <= 0.05 for gap in family.values()) for family in families]
    assert np.mean(wrong) <= 0.05 + 0.088
    assert np.mean(careless) > 0.25


@pytest.mark.parametrize(("n", "samples"), list(product([3, 10], [10, 100])))
def test_without_a_gap_different_is_not_said_of_accuracies(n: int, samples: int) -> None:
    rng = np.random.default_rng(n + samples)
    hits = rng.binomial(samples, 0.9, (5, 2, 10, n)) / samples
    for own, theirs in hits:
        shares = zip(own.mean(axis=1), theirs.mean(axis=1), strict=True)
        gaps = (own - theirs).tolist()
        family = {
            place: Gap(row, 0.02, shares=TestShares(float(mine), float(others), samples))
            for place, (row, (mine, others)) in enumerate(zip(gaps, shares, strict=True))
        }
        assert all(judged.verdict != DIFFERENT for judged in judge(family).values())
