"""The verdict table: what it says of gaps within, beyond and across the margin."""

from typing import Any

import pandas as pd
import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.data import run_table
from unsir_bench.report.metric_cards import verdict_cards
from unsir_bench.report.samples import recorded_samples, samples_of
from unsir_bench.report.tables.verdicts import verdict_rows


def run(method: str, seed: int, **metrics: float) -> dict[str, object]:
    where = {"dataset": "digits", "model": "net", "forget": "single {0}", "setting": ""}
    return {**where, "method": method, "seed": seed, "status": "done", **metrics}


def cell(gaps: list[float], floor: float = 0.0, field: str = "zrf", title: str = "ZRF (± 0.01)") -> str:
    """The one cell of a method whose retrained models lie at 0.5 and, as the second ones, ``floor`` above."""
    runs = [
        run("a", 2 * seed, **{f"gap_{field}": gap, f"retrain_{field}": 0.5, f"floor_{field}": 0.5 + floor})
        for seed, gap in enumerate(gaps)
    ]
    [row] = verdict_rows(pd.DataFrame(runs))
    return row[title]


def test_gaps_well_within_the_margin_are_equivalent() -> None:
    assert cell([0.001, -0.001, 0.0, 0.001]) == "= +0.000 [-0.001, 0.002]"


def test_gaps_wholly_beyond_the_margin_are_different() -> None:
    """4 seeds: of 16 choices of signs 2 lie as far out."""
    assert cell([-0.10, -0.11, -0.10, -0.105]) == "≠ -0.104 [-0.111, -0.096] p = 0.12"


@pytest.mark.parametrize("gaps", [[0.001], [0.0, 0.05, -0.05], [0.002, 0.0, 0.013]])
def test_one_seed_or_a_wide_spread_says_nothing(gaps: list[float]) -> None:
    assert cell(gaps).startswith("? ")


def test_undecided_gaps_name_the_seeds_that_would_settle_them() -> None:
    assert "n = " in cell([0.002, 0.0, 0.013])


def test_the_floor_does_not_widen_the_margin_but_forbids_it() -> None:
    # Four first models at 0.5 and four second ones at 0.54: 16 of 28 pairs differ, so 0.0229 on average.
    assert cell([0.03, 0.031, 0.029, 0.03], floor=0.04).startswith("≠")
    for gaps in ([0.02, 0.021, 0.019, 0.02], [0.0, 0.001, 0.0, -0.001]):
        words = cell(gaps, floor=0.04)
        assert words.startswith("×") and words.endswith("] (floor)")


def test_equal_accuracies_of_few_images_are_not_called_equal_to_retraining() -> None:
    def rows(samples: int) -> str:
        runs = [
            run("a", seed, acc_forget_test=0.0, retrain_acc_forget_test=0.0, gap_acc_forget_test=0.0,
                forget_test_samples=samples)
            for seed in range(10)
        ]  # fmt: skip
        [row] = verdict_rows(pd.DataFrame(runs))
        return row["A_Df % (± 3)"]

    assert rows(39) == "× +0.0 [-9.0, 9.0] (samples)"
    assert rows(1000) == "= +0.0 [-0.4, 0.4]"


def test_equal_accuracies_of_few_nearest_images_are_not_called_equal_to_retraining() -> None:
    gaps = {"acc_nearest_test": 0.9, "retrain_acc_nearest_test": 0.9, "gap_acc_nearest_test": 0.0}
    records = [
        RunRecord(
            run_id=f"a-{seed}", sweep="s", method="a", dataset="digits", model="net", seed=seed, status="done",
            forget_set="single", forget_classes=[0], config={}, metrics=gaps, details={"nearest": {"samples": samples}},
        )
        for seed, samples in enumerate((106, 200, 120))
    ]  # fmt: skip
    [row] = [row for row in verdict_rows(run_table(records)) if row["method"] == "a"]
    [cell] = [words for title, words in row.items() if title.startswith("A nearest")]
    assert cell.startswith("× +0.0 [-")
    broken = RunRecord(
        run_id="b", sweep="s", method="a", dataset="d", model="m", seed=0, config={}, details={"nearest": [1]}
    )
    assert recorded_samples(broken) == {}


def test_older_records_tell_the_samples_by_the_denominators_of_their_shares() -> None:
    runs = [
        run("a", seed, acc_forget_test=0.0, retrain_acc_forget_test=0.0, gap_acc_forget_test=0.0,
            original_acc_forget_test=38 / 39)
        for seed in range(10)
    ]  # fmt: skip
    [row] = verdict_rows(pd.DataFrame(runs))
    assert row["A_Df % (± 3)"] == "× +0.0 [-9.0, 9.0] (samples)"


def test_older_records_of_drawn_classes_tell_the_samples_of_each_seed() -> None:
    """36 images of one seed and 37 of another: no set has their common multiple of 1,332."""
    shares = [{"acc_forget_test": 1 / 36, "original_acc_forget_test": 35 / 36}, {"acc_forget_test": 1 / 37}]
    runs = pd.DataFrame([run("a", seed, **each) for seed, each in enumerate(shares)])
    assert samples_of(runs.assign(drawn=True), "acc_forget_test") == 36
    assert samples_of(runs.assign(drawn=True)[:1], "acc_forget_test") == 36
    halves = pd.DataFrame([run("a", seed, acc_forget_test=1 / count) for seed, count in enumerate((4, 6))])
    assert samples_of(halves, "acc_forget_test") == 12, "the images of a class are the same for every seed"


def test_classes_drawn_for_each_seed_bring_samples_of_their_own() -> None:
    """10 of 100 people a seed with 40 photos in all; five seeds forget 40 different people, so 160 photos."""
    drawn = [range(10), range(10, 20), range(15, 25), range(25, 35), range(30, 40)]
    runs = pd.DataFrame([
        run("a", seed, acc_forget_test=0.0, retrain_acc_forget_test=0.0, gap_acc_forget_test=0.0,
            forget_test_samples=40) | {"forget": "random_k (10)", "drawn_classes": tuple(classes)}
        for seed, classes in enumerate(drawn)
    ])  # fmt: skip
    assert samples_of(runs, "acc_forget_test") == 160
    assert samples_of(runs.assign(retain_test_samples=760), "acc_retain_test") == 760, "the rest are much the same"
    fewer = pd.concat([runs, runs[:2].assign(method="b")])
    assert samples_of(fewer, "acc_forget_test") == 80, "what holds of every method of the table"
    failed = runs[2:].assign(acc_forget_test=float("nan"), status="diverged")
    assert samples_of(pd.concat([runs[:2], failed]), "acc_forget_test") == 80, "a seed without a value has no samples"
    early = runs[2:].assign(method="c", acc_forget_test=float("nan"), drawn_classes=[()] * 3)
    assert samples_of(pd.concat([runs, early]), "acc_forget_test") == 160, "a run that failed before it drew"
    [row] = verdict_rows(runs)  # 0 of 160: up to 2.3 %, below the margin of 3
    assert row["A_Df % (± 3)"] == "= +0.0 [-2.3, 2.3]"
    [few] = verdict_rows(runs[:2])
    assert few["A_Df % (± 3)"] == "? +0.0 [-4.5, 4.5] (samples)", "not undecidable: further seeds bring further photos"


def test_more_methods_make_each_verdict_harder() -> None:
    """Holm over the cells of a forget set: what is told alone is not told among twenty that cannot be."""
    near = [0.005, 0.0075, 0.0025]

    def mark(others: int) -> str:
        runs = [run("a", seed, gap_zrf=gap) for seed, gap in enumerate(near)]
        runs += [run(f"b{k}", seed, gap_zrf=gap) for k in range(others) for seed, gap in enumerate([0.0, 0.01, 0.02])]
        return next(row["ZRF (± 0.01)"][0] for row in verdict_rows(pd.DataFrame(runs)) if row["method"] == "a")

    assert (mark(0), mark(20)) == ("=", "?")


def test_retraining_is_not_judged_and_shows_the_floor() -> None:
    runs = [run(name, 0, gap_zrf=0.0, retrain_zrf=0.5, floor_zrf=0.495) for name in ("unsir", "retrain")]
    retrain, unsir = verdict_rows(pd.DataFrame(runs))
    assert (retrain["ZRF (± 0.01)"], unsir["ZRF (± 0.01)"][0]) == ("0.005", "?")


def test_pairs_of_retrained_models_are_all_of_them_but_of_drawn_classes() -> None:
    def floor(**forget: Any) -> str:
        runs = [
            RunRecord(
                run_id=f"{seed}", sweep="s", method="retrain", dataset="digits", model="net", seed=seed, status="done",
                forget_set="f", forget_classes=[0], config={"forget": forget},
                metrics={"gap_zrf": 0.0, "retrain_zrf": first, "floor_zrf": second},
            )
            for seed, first, second in ((0, 0.1, 0.2), (1, 0.2, 0.4))
        ]  # fmt: skip
        [row] = verdict_rows(run_table(runs))
        return row["ZRF (± 0.01)"]

    # Models of seeds 0, 1 and 2: 0.1, 0.2, 0.4.
    fixed: list[dict[str, Any]] = [
        {"classes": [0], "random_k": None, "sequence": None}, {"subclasses": ["oak"]}, {"file": "indices.json"},
        {"column": "young", "value": 1}, {"sequence": [[0], "indices.json", {"column": "young", "value": 1}]},
    ]  # fmt: skip
    assert [floor(**forget) for forget in fixed] == ["0.200"] * len(fixed)
    # Each seed forgets others: 0.1 against 0.2, and 0.2 against 0.4.
    drawn: list[dict[str, Any]] = [{"random_k": 3}, {"share": 0.1}, {"count": 50}, {"sequence": [[0], {"count": 50}]}]
    assert [floor(**forget) for forget in drawn] == ["0.150"] * len(drawn)


def retrained(seed: int, accuracy: float, **fields: Any) -> RunRecord:
    known = {"retrain_acc_retain_test": accuracy, "acc_retain_test": accuracy, "gap_acc_retain_test": 0.0}
    return RunRecord(
        run_id=f"{seed}-{accuracy}", sweep="s", dataset="digits", model="net", seed=seed, status="done", config={},
        metrics=known, **{"method": "retrain", "forget_set": "single", "forget_classes": [0], **fields},
    )  # fmt: skip


def test_the_floor_is_of_our_own_retrained_models_alone() -> None:
    """With a foreign model of 0.5 for seed 0, its mean with ours would lie 0.205 below the others."""
    files = {role: {"file": f"{role}.pt", "sha256": role} for role in ("original", "retrain", "unlearned")}
    foreign = retrained(0, 0.5, method="theirs", checkpoints=files)
    rows = verdict_rows(run_table([*(retrained(seed, 0.91) for seed in (0, 1, 2)), foreign]))
    assert {row["method"]: row["A_Dr % (± 2)"] for row in rows}["retrain"] == "0.0"


def test_means_over_several_kinds_of_cpu_are_warned_of() -> None:
    def beware(*capabilities: str) -> str:
        runs = [
            retrained(seed, 0.9, method="a", environment={"cpu": "x", "cpu_capability": capability})
            for seed, capability in enumerate(capabilities)
        ]
        unknown = retrained(9, 0.9, method="a", environment={})
        [row] = verdict_rows(run_table([*runs, unknown]))
        return row.get("beware", "")

    assert beware("AVX2", "AVX512", "AVX2") == "mixes 2 kinds of CPU" and beware("AVX2", "AVX2") == ""


def test_means_over_several_commits_or_an_unclean_tree_are_warned_of() -> None:
    trees = [{"commit": "a", "dirty": False}, {"commit": "b", "dirty": True}, {"commit": "c"}]
    runs = [retrained(seed, 0.9, method="a", environment=tree) for seed, tree in enumerate(trees)]
    [row] = verdict_rows(run_table(runs))
    assert row["beware"] == "mixes 3 commits, an unclean tree"


def test_the_mask_is_called_a_control() -> None:
    rows = verdict_rows(pd.DataFrame([run(name, 0, gap_zrf=0.0) for name in ("logit_mask", "unsir")]))
    assert {row["method"]: "control" in row["beware"] for row in rows} == {"logit_mask": True, "unsir": False}


def test_a_value_beyond_the_ideal_is_warned_of() -> None:
    field = "probe_linear_auc"
    runs = pd.DataFrame([run("a", seed, **{f"gap_{field}": -0.2}) for seed in range(3)])
    [row] = verdict_rows(runs)
    assert "damaged" in row["beware"]
    [row] = verdict_rows(runs.assign(**{f"gap_{field}": 0.2}))
    assert "beware" not in row


def test_a_cell_of_fewer_seeds_than_its_row_says_so() -> None:
    runs = [run("a", seed, gap_zrf=seed / 1e4, gap_acc_retain_test=0.0) for seed in range(3)]
    runs[0]["gap_zrf"] = float("nan")
    [row] = verdict_rows(pd.DataFrame(runs))
    assert row["n"] == "3" and row["ZRF (± 0.01)"] == "= +0.000 [-0.000, 0.001] (n = 2)"
    assert "(n =" not in row["A_Dr % (± 2)"]


def test_failed_runs_take_no_part() -> None:
    runs = pd.DataFrame([run("a", seed, gap_zrf=seed / 1e4) for seed in range(3)])
    runs.loc[0, ["status", "gap_zrf"]] = ["failed", 0.9]
    [row] = verdict_rows(runs)
    assert row["n"] == "2" and row["ZRF (± 0.01)"].startswith("= +0.000")
    assert row["not done"] == "1 failed"


def test_what_diverged_is_counted_and_the_other_seeds_are_not_called_equivalent() -> None:
    runs = pd.DataFrame([run(name, seed, gap_zrf=seed / 1e4) for name in ("a", "b") for seed in range(5)])
    runs.loc[[0, 1], "status"] = "diverged"
    diverged, complete = verdict_rows(runs)
    assert diverged["n"] == "3" and diverged["not done"] == "2 diverged" and complete["not done"] == ""
    assert diverged["ZRF (± 0.01)"] == "? +0.000 [0.000, 0.001] (diverged)"
    assert complete["ZRF (± 0.01)"].startswith("= ")
    runs["gap_zrf"] += 0.5
    assert verdict_rows(runs)[0]["ZRF (± 0.01)"].startswith("≠ ")


def test_every_method_and_forget_set_has_its_row_in_the_order_of_tables() -> None:
    runs = pd.DataFrame([run(name, 0, gap_acc_retain_test=0.0) for name in ("zzz", "unsir", "retrain")])
    assert [row["method"] for row in verdict_rows(runs)] == ["retrain", "unsir", "zzz"]


def test_no_card_repeats_a_field_or_a_title() -> None:
    cards = verdict_cards()
    for values in ([card.field for card in cards], [card.title for card in cards]):
        assert len(set(values)) == len(values)
    assert all(bool(card.overshoot) == (card.overshoots != 0) for card in cards)


def test_a_gap_that_is_no_number_costs_its_cell_alone() -> None:
    runs = [run("a", seed, gap_zrf=seed / 1e4, gap_acc_forget_test=float("inf")) for seed in (0, 1)]
    [row] = verdict_rows(pd.DataFrame(runs))
    assert (row["A_Df % (± 3)"], row["ZRF (± 0.01)"][0]) == ("–", "=")
