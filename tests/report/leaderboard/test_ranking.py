"""The ranking: distances and ties by hand, and against a plain reckoning."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from scipy import stats

from unsir_bench.report.leaderboard.ranking import Entry, difference, ranks

RETRAIN = {"acc_retain_test": {0: 0.9, 1: 0.92, 2: 0.91}, "acc_forget_test": {0: 0.0, 1: 0.0, 2: 0.0}}
NO_SAMPLES = {"acc_retain_test": None, "acc_forget_test": None}
MANY = {"acc_retain_test": 1_000_000, "acc_forget_test": 1_000_000}


def entry(retain: list[float], forget: list[float], samples: dict[str, int | None] | None = None) -> Entry:
    own = {"acc_retain_test": dict(enumerate(retain)), "acc_forget_test": dict(enumerate(forget))}
    return Entry(own, RETRAIN, samples or NO_SAMPLES)


def test_a_distance_is_the_mean_of_both_gaps_of_each_seed() -> None:
    found = entry([0.8, 0.92, 0.95], [0.1, 0.0, 0.02]).distances
    assert found == pytest.approx({0: (0.1 + 0.1) / 2, 1: 0.0, 2: (0.04 + 0.02) / 2})


def test_a_seed_without_its_retrained_model_has_no_distance() -> None:
    assert list(entry([0.8, 0.9, 0.9, 0.9], [0.0] * 4).distances) == [0, 1, 2]


def test_an_interval_is_students_over_seeds() -> None:
    distances = [0.1, 0.0, 0.03]
    found = entry([0.8, 0.92, 0.95], [0.1, 0.0, 0.02]).interval()
    low, high = stats.t.interval(0.95, 2, loc=sum(distances) / 3, scale=stats.sem(distances))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_few_test_samples_widen_an_interval_that_seeds_leave_at_a_point() -> None:
    exact = entry([0.9, 0.92, 0.91], [0.0] * 3).interval()
    few = entry([0.9, 0.92, 0.91], [0.0] * 3, {"acc_retain_test": None, "acc_forget_test": 10}).interval()
    assert exact.half_width == pytest.approx(0.0, abs=1e-12)
    assert few.half_width == pytest.approx(stats.binomtest(0, 10).proportion_ci(0.95).high * math.sqrt(2) / 2, rel=0.5)
    assert few.half_width > 0.1


def test_a_method_is_behind_those_that_are_nearer_beyond_a_tie() -> None:
    near = entry([0.9, 0.92, 0.91], [0.01, 0.0, 0.02], MANY)
    like_it = entry([0.9, 0.92, 0.92], [0.0, 0.02, 0.01], MANY)
    far = entry([0.6, 0.62, 0.605], [0.3, 0.31, 0.3], MANY)
    once = entry([0.9], [0.0], MANY)
    assert ranks([far, near, once, like_it]) == [3, 1, None, 1]


def test_a_pair_is_compared_on_the_seeds_of_both() -> None:
    one, other = entry([0.8, 0.9, 0.9], [0.0] * 3), entry([0.7, 0.8], [0.0] * 2)
    found = difference(one, other)
    assert found.n == 2
    assert found.mean == pytest.approx(-0.05)


def on_seeds(seeds: tuple[int, ...], retain: float = 0.9) -> Entry:
    """A method whose retrained models keep 0.9 and forget all."""
    accuracies = [
        {"acc_retain_test": dict.fromkeys(seeds, kept), "acc_forget_test": dict.fromkeys(seeds, 0.0)}
        for kept in (retain, 0.9)
    ]
    return Entry(*accuracies, NO_SAMPLES)


def test_a_method_that_shares_fewer_than_two_seeds_with_others_has_no_rank() -> None:
    """Strangers lack three partners each, the two of seeds 0 to 2 lack the two strangers: those go first."""
    near, far = on_seeds((0, 1, 2)), on_seeds((0, 1, 2), 0.5)
    stranger, of_one_shared_seed = on_seeds((7, 8)), on_seeds((2, 3, 4))
    assert ranks([stranger, far, near, of_one_shared_seed]) == [None, 2, 1, None]
    assert ranks([far, near, on_seeds((1, 2, 9))]) == [3, 1, 1], "two shared seeds are enough"


def test_where_neither_of_two_can_be_preferred_neither_has_a_rank() -> None:
    assert ranks([on_seeds((0, 1)), on_seeds((2, 3))]) == [None, None]
    assert ranks([on_seeds((0, 1))]) == [1]


def test_equal_seeds_of_few_samples_tie_however_often_they_are_repeated() -> None:
    samples: dict[str, int | None] = {"acc_retain_test": 20, "acc_forget_test": 20}
    one, other = entry([0.9] * 3, [0.0] * 3, samples), entry([0.85] * 3, [0.0] * 3, samples)
    assert ranks([one, other]) == [1, 1]


def test_no_method_is_behind_one_that_is_further_away() -> None:
    draw = random.Random(4)
    for _ in range(30):
        found = [entry([draw.random() for _ in range(3)], [draw.random() for _ in range(3)], MANY) for _ in range(6)]
        given = ranks(found)
        means = [each.interval().mean for each in found]
        assert min(zip(means, given, strict=True))[1] == 1, "nothing is nearer than the nearest"
        for mean, rank in zip(means, given, strict=True):
            assert rank is not None and rank <= 1 + sum(other < mean for other in means)


def test_retrainings_own_images_count_twice_between_methods_on_either_side_of_it() -> None:
    """Of 500 images: 5 points between distances of 1 above and 6 below 95 %, or of 1 and 6 below."""
    samples: dict[str, int | None] = {"acc_retain_test": 500, "acc_forget_test": 500}
    retrained = {"acc_retain_test": dict.fromkeys(range(3), 0.95), "acc_forget_test": dict.fromkeys(range(3), 0.0)}

    def keeping(retain: float) -> Entry:
        return replace(entry([retain] * 3, [0.0] * 3, samples), retrained=retrained)

    assert ranks([keeping(0.96), keeping(0.89)]) == [1, 1]
    assert ranks([keeping(0.94), keeping(0.89)]) == [1, 2]
    found = difference(keeping(0.96), keeping(0.89))
    own, other, theirs = (stats.binomtest(round(500 * share), 500).proportion_ci(0.95) for share in (0.96, 0.89, 0.95))
    room = math.hypot(0.96 - own.low, 0.89 - other.low, 2 * (theirs.high - 0.95))
    above = math.hypot(own.high - 0.96, other.high - 0.89, 2 * (0.95 - theirs.low))
    none = stats.binomtest(0, 500).proportion_ci(0.95).high  # of A_Df, which is 0 of both
    assert found.half_width == pytest.approx((max(room, above) + none) / 2)
