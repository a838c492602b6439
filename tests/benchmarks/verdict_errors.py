"""How often verdicts against retraining are wrong, by simulation. By hand: python -m tests.benchmarks.verdict_errors.

Spreads over seeds are those of records: standard deviations of the gap to retraining, over each metric's margin, of
every method and metric that two seeds or more were measured of. Three questions, each at n = 3, 5 and 10 seeds:

- the true gap is the margin: how often is *equivalent* said of one gap? At most 5 % is asked for.
- no true gap: in how many families (a table of methods and metrics) is *different* said at all? At most 5 %.
- accuracies without spread, all seeds giving the same hits of 10 to 1,000 test samples, the true gap at the margin: how
  often is *equivalent* said? Exact, over all numbers of hits.

Each rate comes with the standard error of its simulation.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from unsir_bench.report.binomial import TestShares
from unsir_bench.report.data import GROUP, groups, run_table
from unsir_bench.report.equivalence import ALPHA, EquivalenceVerdict, Gap, judge
from unsir_bench.report.folders import read_sweep, sweep_folders
from unsir_bench.report.margins import margin_of, read_margins
from unsir_bench.report.metric_cards import verdict_cards
from unsir_bench.report.seeds import seed_values

SEEDS = (3, 5, 10)
SAMPLES = (10, 39, 100, 300, 1000)
Rng = np.random.Generator


def relative_spreads(folder: Path) -> list[float]:
    """Standard deviations of gaps over seeds, in margins, of all sweeps below a folder; those of no spread left out."""
    margins = read_margins()
    found = []
    for sweep in sweep_folders(folder):
        runs = run_table(read_sweep(sweep).records)
        for _, rows in groups(runs[runs["status"] == "done"], GROUP):
            for card in verdict_cards():
                values = list(seed_values(rows, f"gap_{card.field}").values())
                if len(values) > 1 and np.std(values) > 0:
                    found.append(float(np.std(values, ddof=1)) / margin_of(card, margins))
    return found


def equivalent_at_the_margin(spreads: Sequence[float], n: int, draws: int, rng: Rng) -> float:
    """Share of normal samples around the margin that are called equivalent, each alone."""
    gaps = [Gap(rng.normal(1.0, spread, n).tolist(), 1.0) for spread in rng.choice(spreads, draws)]
    return float(np.mean([gap.p_equivalent <= ALPHA for gap in gaps]))


def families_with_a_difference(
    spreads: Sequence[float], n: int, size: int, draws: int, center: float, rng: Rng
) -> float:
    """Share of families of metrics, all with the same true gap in margins, in which one is called different."""
    return float(np.mean([_differs(_family(spreads, n, size, center, rng)) for _ in range(draws)]))


def families_of_accuracies_with_a_difference(n: int, size: int, draws: int, rng: Rng) -> float:
    """The same of accuracies of equally good models: hits of as many test samples, drawn anew for each seed."""
    return float(np.mean([_differs(_accuracies(n, size, rng)) for _ in range(draws)]))


def equivalent_without_spread(samples: int, margin: float, n: int) -> float:
    """Probability that *equivalent* is said where every seed gives the same hits and retraining gives none."""
    hits = np.arange(math.ceil(margin * samples) + 1)
    chances: NDArray[np.float64] = stats.binom.pmf(hits, samples, margin)
    return sum(
        float(chance)
        for k, chance in zip(hits.tolist(), chances, strict=True)
        if Gap([k / samples] * n, margin, shares=TestShares(k / samples, 0.0, samples)).p_equivalent <= ALPHA
    )


def _family(spreads: Sequence[float], n: int, size: int, center: float, rng: Rng) -> dict[int, Gap]:
    chosen = rng.choice(spreads, size)
    return {place: Gap(rng.normal(center, spread, n).tolist(), 1.0) for place, spread in enumerate(chosen)}


def _accuracies(n: int, size: int, rng: Rng) -> dict[int, Gap]:
    family = {}
    for place in range(size):
        samples, truth = int(rng.choice(SAMPLES)), float(rng.uniform(0, 1))
        own, retrained = rng.binomial(samples, truth, (2, n)) / samples
        shares = TestShares(float(own.mean()), float(retrained.mean()), samples)
        family[place] = Gap((own - retrained).tolist(), 0.02, shares=shares)
    return family


def _differs(family: dict[int, Gap]) -> bool:
    return any(one.verdict is EquivalenceVerdict.DIFFERENT for one in judge(family).values())


def lines(spreads: Sequence[float], draws: int, families: int, size: int, seed: int) -> Iterator[str]:
    """The table of rates, a line at a time."""
    quartiles = ", ".join(f"{value:.2f}" for value in np.quantile(spreads, (0.25, 0.5, 0.75)))
    yield f"{len(spreads)} spreads from records; quartiles in margins: {quartiles}; seed {seed}"
    for n in SEEDS:
        rng = np.random.default_rng([seed, n])
        rate = equivalent_at_the_margin(spreads, n, draws, rng)
        yield f"n = {n}: gap at the margin, equivalent: {_words(rate, draws)}"
        for name, center in (("no gap", 0.0), ("gap at the margin", 1.0)):
            rate = families_with_a_difference(spreads, n, size, families, center, rng)
            yield f"n = {n}: {name}, families of {size} with a difference: {_words(rate, families)}"
        rate = families_of_accuracies_with_a_difference(n, size, families, rng)
        yield f"n = {n}: no gap, accuracies, families of {size} with a difference: {_words(rate, families)}"
        for samples in SAMPLES:
            rates = [f"{equivalent_without_spread(samples, margin, n):.2%} at {margin:g}" for margin in (0.03, 0.1)]
            yield f"n = {n}: no spread, {samples} test samples, equivalent: {', '.join(rates)} (exact)"


def _words(rate: float, draws: int) -> str:
    return f"{rate:.2%} ± {math.sqrt(max(rate, 1 / draws) * (1 - rate) / draws):.2%} ({draws} draws)"


def main() -> None:
    """Simulate, and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=Path("docs/results"), help="sweeps whose spreads are taken")
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--families", type=int, default=1000)
    parser.add_argument("--size", type=int, default=40, help="gaps in a family")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    spreads = relative_spreads(chosen.records)
    for line in lines(spreads, chosen.draws, chosen.families, chosen.size, chosen.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
