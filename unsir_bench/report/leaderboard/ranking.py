"""How methods of one setting are ranked: by their distance to retraining; they tie where the runs tell none apart.

A method's distance on one training seed is the mean of ``|A_Dr - retrain's A_Dr|`` and ``|A_Df - retrain's A_Df|`` on
test images. Two methods are compared on the seeds that both have, by the interval of their difference. The rank of a
method is one more than the number of methods that are nearer to retraining by more than that interval. Any two ranked
methods share two seeds or more: of what cannot be compared no rank is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unsir_bench.report.binomial import clopper_pearson, gap_limits
from unsir_bench.report.equivalence import ALPHA
from unsir_bench.report.statistics import ROUNDING, MeanInterval, mean_interval

SHARES = ("acc_retain_test", "acc_forget_test")
RULE = (
    "Methods are ranked by their distance to retraining: the mean of |A_Dr − retrain's A_Dr| and |A_Df − "
    "retrain's A_Df| on test images, paired by training seed, averaged over seeds; nearer is better. Two methods "
    "tie where the 95 % interval of their difference (Student's t over the seeds of both, no narrower than the "
    "exact binomial limits of the test samples, of which retraining's count twice between two on either side of it) "
    "includes 0. Rank: one more than the number of methods that are "
    "nearer beyond a tie; pairs are tested one by one, without correction for their number. Not ranked: "
    "references, controls, models made elsewhere, methods with fewer than two seeds. Any two ranked methods share two "
    "seeds or more; until that holds, those that share too few with the most others are left out, all at once."
)


@dataclass(frozen=True)
class Entry:
    """A method's test accuracies and retraining's of the same seeds, as fractions.

    Attributes:
        own: by field of ``SHARES``, then by seed.
        retrained: likewise.
        samples: by field, how many distinct test images it is a share of; None: not known.
    """

    own: Mapping[str, Mapping[int, float]]
    retrained: Mapping[str, Mapping[int, float]]
    samples: Mapping[str, int | None]

    @property
    def distances(self) -> dict[int, float]:
        """The distance to retraining, in [0, 1], of each seed that has both models."""
        seeds = set.intersection(*(set(of[name]) for of in (self.own, self.retrained) for name in SHARES))
        return {
            seed: sum(abs(self.own[name][seed] - self.retrained[name][seed]) for name in SHARES) / len(SHARES)
            for seed in sorted(seeds)
        }

    def interval(self) -> MeanInterval:
        """Mean distance with its 95 % interval, no narrower than what the test samples leave open."""
        found = self.distances
        seeds = mean_interval(list(found.values()), 1 - ALPHA)
        if seeds.n < 2:
            return seeds
        room = sum(self._room(name, list(found)) for name in SHARES) / len(SHARES)
        return MeanInterval(seeds.mean, max(seeds.half_width, room), seeds.n, seeds.confidence)

    def _room(self, name: str, seeds: Sequence[int]) -> float:
        """How far the mean gap of a share may be from the truth, since the test images are so many and no more."""
        return _room_of_gap(_mean(self.own[name], seeds), _mean(self.retrained[name], seeds), self.samples.get(name))


def difference(one: Entry, other: Entry) -> MeanInterval:
    """How much further the first is from retraining than the second: mean over the seeds of both, and its interval."""
    first, second = one.distances, other.distances
    both = sorted(first.keys() & second.keys())
    seeds = mean_interval([first[seed] - second[seed] for seed in both], 1 - ALPHA)
    if seeds.n < 2:
        return seeds
    room = sum(_room(name, one, other, both) for name in SHARES) / len(SHARES)
    return MeanInterval(seeds.mean, max(seeds.half_width, room), seeds.n, seeds.confidence)


def ranks(entries: Sequence[Entry]) -> list[int | None]:
    """The rank of each, from 1; None for one that cannot be compared with all that are ranked."""
    known = comparable(entries)
    return [
        1 + sum(_is_nearer(other, entry) for place, other in enumerate(entries) if known[place]) if own else None
        for entry, own in zip(entries, known, strict=True)
    ]


def comparable(entries: Sequence[Entry]) -> list[bool]:
    """Which can be ranked together: any two of them share two seeds or more.

    Left out are entries of fewer than two seeds; then, until all share enough, those that lack the most partners, all
    of them at once, so that neither order nor name decides.
    """
    seeds = {place: set(entry.distances) for place, entry in enumerate(entries)}
    left = [place for place, own in seeds.items() if len(own) >= 2]
    while left:
        lacking = {place: sum(len(seeds[place] & seeds[other]) < 2 for other in left) for place in left}
        if not (most := max(lacking.values())):
            break
        left = [place for place in left if lacking[place] < most]
    return [place in left for place in seeds]


def _is_nearer(one: Entry, other: Entry) -> bool:
    found = difference(one, other)
    return not math.isnan(found.half_width) and found.mean < 0 and found.high < -ROUNDING


def _room(name: str, one: Entry, other: Entry, seeds: Sequence[int]) -> float:
    """How far the difference of two mean distances in a share may be from the truth, for the test images alone.

    On one side of retraining it is the difference of both shares. On either side it is their sum less twice
    retraining's, so that the images retraining errs on count twice.
    """
    samples = one.samples.get(name)
    shares = np.array([_mean(of[name], seeds) for of in (one.own, other.own, one.retrained)])
    first, second, retrained = shares.tolist()
    if samples is None or (first - retrained) * (second - retrained) >= 0:
        return _room_of_gap(first, second, samples)
    lows, highs = clopper_pearson(shares, samples, ALPHA / 2)
    below, above = (shares - lows).tolist(), (highs - shares).tolist()
    return max(math.hypot(*above[:2], 2 * below[2]), math.hypot(*below[:2], 2 * above[2]))


def _room_of_gap(first: float, second: float, samples: int | None) -> float:
    """How far the gap of two shares of the same samples may be from the truth; 0 of an unknown number of samples."""
    if samples is None:
        return 0.0
    gap = first - second
    return max(abs(float(end) - gap) for end in gap_limits(first, second, samples, ALPHA / 2))


def _mean(of: Mapping[int, float], seeds: Sequence[int]) -> float:
    """Over these seeds; rounding may not leave [0, 1]."""
    return min(max(sum(of[seed] for seed in seeds) / len(seeds), 0.0), 1.0)
