"""Summaries of relearning curves, by hand and against statsmodels' Kaplan-Meier estimate."""

import numpy as np
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

from unsir_bench.records import RunRecord
from unsir_bench.report.relearn_curve import (
    Curve,
    Time,
    anamnesis_in_words,
    area_under,
    first_at,
    median_in_words,
    plateau_of,
    summarise,
)
from unsir_bench.report.tables.metrics import metric_tables

CURVE: Curve = [(0, 0.0), (10, 0.2), (20, 0.4), (40, 0.4)]


def test_the_area_by_hand() -> None:
    """Trapezoids 1 + 3 + 8 = 12 over 40 batches, of an original of 0.8."""
    assert area_under(CURVE, 40) == pytest.approx(0.3)
    assert summarise(CURVE, 0.8).area == pytest.approx(0.375)
    assert area_under(CURVE, 80) == pytest.approx((12 + 40 * 0.4) / 80)
    assert area_under([(0, 0.7)], 0) == 0.7


def test_a_network_that_knows_all_along_has_an_area_of_one_over_the_same_batches_as_retrain() -> None:
    known = summarise([(0, 0.8)], 0.8, CURVE)
    assert (known.area, known.span, known.half, known.plateau) == (pytest.approx(1.0), 40, Time(0.0), Time(0.0))


def test_a_longer_curve_is_cut_at_the_end_of_retrains() -> None:
    """Of (0, 0), (30, 0.3), (90, 0.9) the first 40 batches are a line to 0.4: a mean of 0.2, of an original of 0.8."""
    slow = summarise([(0, 0.0), (30, 0.3), (90, 0.9)], 0.8, CURVE)
    assert (slow.area, slow.span) == (pytest.approx(0.25), 40)
    assert slow.plateau == Time(90.0)  # times are those of the whole curve
    fine = np.linspace(0, 40, 4001)
    assert area_under(CURVE, 25) == pytest.approx(np.interp(fine[fine <= 25], *np.transpose(CURVE)).mean(), abs=1e-4)


def test_half_and_plateau_by_hand_with_censoring() -> None:
    """Half of 0.8 is reached at 20; the last of four checks is retrain's plateau, of which 95 % are 0.38."""
    found = summarise(CURVE, 0.8, CURVE)
    assert (found.half, found.plateau) == (Time(20.0), Time(20.0))
    late = summarise([(0, 0.0), (40, 0.1)], 0.8, CURVE)
    assert (str(late.half), str(late.plateau)) == (">40", ">40")
    assert summarise(CURVE, 0.8).plateau is None


def test_a_share_that_equals_the_aim_but_for_rounding_is_reached() -> None:
    assert first_at([(0, 0.1 + 0.2 - 1e-12)], 0.3) == Time(0.0)


def test_the_plateau_is_the_mean_of_the_last_quarter() -> None:
    assert plateau_of([(k, 0.1 * k) for k in range(8)]) == pytest.approx(0.65)
    assert plateau_of([(0, 0.2)]) == 0.2


@pytest.mark.parametrize(
    ("own", "retrained", "words"),
    [
        (Time(10), Time(40), "0.25"), (Time(10), Time(100, True), "<0.10"), (Time(100, True), Time(40), ">2.50"),
        (Time(100, True), Time(100, True), "–"), (Time(10), Time(0), "–"), (Time(100, True), Time(0), "–"),
    ],
)  # fmt: skip
def test_the_anamnesis_index_is_a_bound_where_one_is_censored(own: Time, retrained: Time, words: str) -> None:
    assert anamnesis_in_words(own, retrained) == words


def test_censored_times_are_never_averaged() -> None:
    assert median_in_words([Time(10), Time(20), Time(30)]) == "20"
    assert median_in_words([Time(10), Time(20), Time(100, True)]) == "20 (1 of 3 censored)"
    assert median_in_words([Time(100, True)] * 3) == ">100 (3 of 3 censored)"
    assert median_in_words([]) == "–"


@pytest.mark.parametrize("seed", range(5))
def test_the_median_is_that_of_kaplan_and_meier(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batches, seen = rng.integers(1, 9, 15) * 10.0, rng.random(15) < 0.8
    expected = SurvfuncRight(batches, seen.astype(int)).quantile(0.5)
    times = [Time(float(b), not bool(s)) for b, s in zip(batches, seen, strict=True)]
    assert median_in_words(times).split()[0] == f"{expected:g}"


@pytest.mark.parametrize("curve", [[], [(0, 0.1), (0, 0.2)], [(10, 0.1), (5, 0.2)]])
def test_what_is_no_curve_is_refused(curve: Curve) -> None:
    with pytest.raises(ValueError, match="increasing batches"):
        summarise(curve, 0.5)


def test_an_original_that_knew_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was known"):
        summarise(CURVE, 0.0)


def test_the_table_of_metrics_has_the_summaries_of_every_model() -> None:
    def run(seed: int, curve: Curve) -> RunRecord:
        metrics = {
            "acc_forget_test": 0.0, "acc_retain_test": 0.9, "original_acc_forget_test": 0.8,
            "retrain_acc_forget_test": 0.0, "retrain_acc_retain_test": 0.9, "relearn_batches": None,
            "relearn_censored": 1, "retrain_relearn_censored": 1,
        }  # fmt: skip
        details = {"relearn_curve": curve, "retrain_relearn_curve": CURVE}
        return RunRecord(
            run_id=f"a-{seed}", sweep="s", method="a", dataset="digits", model="net", seed=seed, status="done",
            config={"metrics": {"relearn": {"cap": 40}}}, forget_set="single", forget_classes=[0], metrics=metrics,
            details=details,
        )  # fmt: skip

    text = metric_tables([run(0, CURVE), run(1, [(0, 0.0), (40, 0.0)])])
    rows = {line.split(" | ")[0].lstrip("| "): line for line in text.splitlines()}
    assert "20 (1 of 2 censored)" in rows["relearn batches to half of original's A_Df (median)"]
    assert "| 0.37 ± 0.00 | 0.19 ± " in rows["relearn area / original's A_Df"]
    # Both are censored: there is no index, and no mean that would stand for one.
    assert rows["AIN of relearn_batches, by seed"].count("–") == 2
