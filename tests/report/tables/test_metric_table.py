"""The table of all metrics beside those of the references."""

from pathlib import Path
from typing import Any

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.command import main
from unsir_bench.report.tables.metrics import metric_tables


def record(method: str, seed: int, accuracy: float, relearned: int | None, status: str = "done") -> RunRecord:
    return RunRecord(
        run_id=f"{method}-{seed}", sweep="s", method=method, dataset="d", model="m", seed=seed, status=status,
        config={"method": {"name": method}, "metrics": {"relearn": {"cap": 50}}},
        forget_set="single", forget_classes=[0],
        metrics={
            "acc_retain_test": accuracy, "relearn_batches": relearned, "relearn_censored": int(relearned is None),
            "original_acc_retain_test": 0.9, "retrain_acc_retain_test": 0.8 + seed / 10,
            "retrain_relearn_batches": None, "retrain_relearn_censored": 1, "gap_acc_retain_test": 0.1,
            "unlearn_seconds": 2.0, "retrain_seconds": 10.0, "noise_seconds": 1.0,
        },
    )  # fmt: skip


def cells(text: str, metric: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"| {metric} |")]
    return [cell.strip() for cell in line.strip("| ").split("|")][1:]


def test_references_come_first_and_each_seed_of_theirs_counts_once() -> None:
    text = metric_tables([record("a", 0, 0.5, 10), record("a", 1, 0.7, 30), record("b", 0, 0.6, 10)])
    assert "**d, m, single {0}**" in text
    assert text.splitlines()[2] == "| metric | original (n = 2) | retrain (n = 2) | a (n = 2) | b (n = 1) |"
    # t(0.975, 1 degree of freedom) = 12.706: 0.1 * 12.706 for both spreads of 0.2 and 0.1. The shares are tenths: 9 of
    # 10 may be as few as 55.5 %.
    assert cells(text, "acc_retain_test") == ["0.9 [0.55, 1]", "0.85 ± 0.64", "0.6 ± 1.3", "0.6"]


def test_equal_shares_of_few_samples_have_the_exact_interval_and_other_numbers_student_s() -> None:
    """0 of 10 is at most 1 - 0.025 ** (1 / 10)."""
    runs = [record("a", seed, 0.0, 10) for seed in (0, 1, 2)]
    for run in runs:
        run.details = {"samples": {"retain_test": 10}}
    text = metric_tables(runs)
    assert cells(text, "acc_retain_test")[-1] == "0 [0, 0.31]"
    assert cells(text, "unlearn_seconds")[-1] == "2 ± 0"


def test_a_censored_relearn_time_is_shown_and_never_averaged() -> None:
    text = metric_tables([record("a", 0, 0.5, 10), record("a", 1, 0.7, None)])
    assert cells(text, "relearn_batches") == ["–", ">50, >50", "10, >50"]


def test_a_cap_that_was_not_recorded_ends_nothing() -> None:
    run = record("a", 0, 0.5, None)
    sections: list[dict[str, Any]] = [{}, {"relearn": None}, {"relearn": {}}]
    for metrics in sections:
        run.config = {"metrics": metrics}
        assert cells(metric_tables([run]), "relearn_batches")[-1] == ">0"


def test_the_anamnesis_index_is_never_a_mean_over_the_seeds_that_relearned() -> None:
    known = {"retrain_relearn_batches": 40, "retrain_relearn_censored": 0}
    runs = [record("a", 0, 0.5, 20), record("a", 1, 0.5, None), record("a", 2, 0.5, None)]
    for run, index in zip(runs, (0.5, None, None), strict=True):
        run.metrics |= {**known, "anamnesis_index": index}
    text = metric_tables(runs)
    assert "| anamnesis_index |" not in text
    # The cap is 50 batches: above 50 / 40.
    assert cells(text, "AIN of relearn_batches, by seed")[-1] == "0.50, >1.25, >1.25"


def test_the_anamnesis_index_of_each_seed_is_shown_though_seeds_have_the_same() -> None:
    runs = [record("a", seed, 0.5, batches) for seed, batches in enumerate((10, 10, 40))]
    for run in runs:
        run.metrics |= {"retrain_relearn_batches": 10, "retrain_relearn_censored": 0}
    shown = cells(metric_tables(runs), "AIN of relearn_batches, by seed")
    assert shown == ["–", "1.00, 1.00, 1.00", "1.00, 1.00, 4.00"]


def test_costs_of_parts_and_gaps_are_left_out_and_retrain_has_its_own_seconds() -> None:
    text = metric_tables([record("a", 0, 0.5, 10)])
    assert "noise_seconds" not in text and "gap_" not in text
    assert cells(text, "unlearn_seconds") == ["–", "10", "2"]


def test_runs_that_are_not_done_are_no_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "broken" not in metric_tables([record("a", 0, 0.5, 10), record("broken", 0, 0.5, 10, status="failed")])
    assert metric_tables([record("broken", 0, 0.5, 10, status="failed")]) == "No finished runs.\n"
    record("a", 0, 0.5, 10).write(tmp_path / "a-0")
    with pytest.raises(SystemExit) as ended:
        main(["metrics", str(tmp_path)])
    assert ended.value.code == 0 and "**d, m, single {0}**" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["metrics", str(tmp_path / "nothing")])
    assert ended.value.code == 2 and "no records below" in capsys.readouterr().err


def test_speed_ups_have_their_geometric_mean() -> None:
    runs = [record("a", seed, 0.5, 10) for seed in (0, 1)]
    for run, ratio in zip(runs, (10.0, 1000.0), strict=True):
        run.metrics |= {"speedup_vs_retrain": ratio}
    assert cells(metric_tables(runs), "speedup_vs_retrain")[-1].startswith("100.00 [")


def test_the_last_row_says_which_means_mix_several_commits() -> None:
    runs = [record("a", 0, 0.5, 10), record("a", 1, 0.7, 30), record("b", 0, 0.6, 10)]
    for run, commit in zip(runs, "xyx", strict=True):
        run.environment = {"commit": commit}
    text = metric_tables(runs)
    assert cells(text, "mixes") == ["2 commits", "2 commits", "2 commits", "–"]
    assert text.rstrip().splitlines()[-1].startswith("| mixes |")
    assert "mixes" not in metric_tables(runs[::2])


def test_tables_of_several_sweeps_say_which_sweep_they_are_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / "a" / "mine", tmp_path / "b" / "mine", tmp_path / "b" / "other*"]
    for folder in folders:
        record("a", 0, 0.5, 10).write(folder / "a-0")
    with pytest.raises(SystemExit):
        main(["metrics", *map(str, folders)])
    heads = [line for line in capsys.readouterr().out.splitlines() if line.startswith("**sweep")]
    assert heads == [f"**sweep {folders[0]}**", f"**sweep {folders[1]}**", r"**sweep other\***"]
