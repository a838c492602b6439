"""The verdict table: what it says of gaps within, beyond and across the margin."""

import pandas as pd
import pytest

from unsir_bench.report.metric_cards import verdict_cards
from unsir_bench.report.tables.verdicts import verdict_rows


def run(method: str, seed: int, **metrics: float) -> dict[str, object]:
    where = {"dataset": "digits", "model": "net", "forget": "single {0}", "setting": ""}
    return {**where, "method": method, "seed": seed, "status": "done", **metrics}


def cell(gaps: list[float], floor: list[float], field: str = "acc_retain_test", title: str = "A_Dr %") -> str:
    runs = [
        run("a", seed, **{f"gap_{field}": gap, f"floor_gap_{field}": other})
        for seed, (gap, other) in enumerate(zip(gaps, floor, strict=True))
    ]
    [row] = verdict_rows(pd.DataFrame(runs))
    return row[title]


def test_gaps_well_within_the_margin_are_indistinguishable() -> None:
    assert cell([0.001, -0.001, 0.0, 0.001], [0.0] * 4) == "= +0.0 ± 1.0"


def test_gaps_wholly_beyond_the_margin_are_distinguishable() -> None:
    assert cell([-0.10, -0.11, -0.10, -0.105], [0.0] * 4) == "≠ -10.4 ± 1.0"


@pytest.mark.parametrize("gaps", [[0.001], [0.0, 0.05, -0.05], [0.02, 0.001, 0.03]])
def test_one_seed_or_a_wide_spread_says_nothing(gaps: list[float]) -> None:
    assert cell(gaps, [0.0] * len(gaps)).startswith("? ")


def test_the_floor_widens_the_margin() -> None:
    # Two retrained models differ by 4 points on average, so a steady gap of 3 points is none.
    assert cell([0.03, 0.031, 0.029, 0.03], [0.04, -0.04, 0.04, -0.04]) == "= +3.0 ± 4.0"


def test_a_value_beyond_the_ideal_is_warned_of() -> None:
    field = "probe_linear_auc"
    runs = pd.DataFrame([run("a", seed, **{f"gap_{field}": -0.2}) for seed in range(3)])
    [row] = verdict_rows(runs)
    assert "damaged" in row["beware"]
    [row] = verdict_rows(runs.assign(**{f"gap_{field}": 0.2}))
    assert "beware" not in row


def test_failed_runs_take_no_part() -> None:
    runs = pd.DataFrame([run("a", seed, gap_acc_retain_test=0.0) for seed in range(3)])
    runs.loc[0, ["status", "gap_acc_retain_test"]] = ["failed", 0.9]
    [row] = verdict_rows(runs)
    assert row["n"] == "2" and row["A_Dr %"].startswith("= +0.0")


def test_every_method_and_forget_set_has_its_row_in_the_order_of_tables() -> None:
    runs = pd.DataFrame([run(name, 0, gap_acc_retain_test=0.0) for name in ("zzz", "unsir", "retrain")])
    assert [row["method"] for row in verdict_rows(runs)] == ["retrain", "unsir", "zzz"]


def test_no_card_repeats_a_field_or_a_title() -> None:
    cards = verdict_cards()
    for values in ([card.field for card in cards], [card.title for card in cards]):
        assert len(set(values)) == len(values)
    assert all(bool(card.overshoot) == (card.overshoots != 0) for card in cards)


def test_a_floor_that_is_no_number_costs_its_cells_alone() -> None:
    runs = [
        run("a", seed, gap_zrf=0.0, gap_acc_forget_test=0.0, floor_gap_acc_forget_test=float("inf")) for seed in (0, 1)
    ]
    [row] = verdict_rows(pd.DataFrame(runs))
    assert (row["A_Df %"], row["ZRF"][0]) == ("–", "=")
