"""The table of stages and the field's standard columns, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.command import main
from unsir_bench.report.samples import gap_in_words, share_interval
from unsir_bench.report.tables.comparison import ComparisonTable, comparison_tables
from unsir_bench.report.tables.paper import cells, write_tables
from unsir_bench.report.tables.stages import stage_rows
from unsir_bench.report.tables.standard_columns import STANDARD, chosen_columns


def stage(name: str, forget: float | None, retain: float, step: int = 0) -> dict[str, Any]:
    return {"stage": name, "step": step, "acc_forget_test": forget, "acc_retain_test": retain}


def record(
    method: str = "unsir", seed: int = 0, stages: list[dict[str, Any]] | None = None, **extra: float
) -> RunRecord:
    metrics = {
        "acc_forget_test": 0.25, "acc_retain_test": 0.75, "acc_forget_train": 0.2, "acc_retain_train": 0.9,
        "mia_svc_member_share": 0.1, "unlearn_seconds": 90.0, "original_acc_forget_test": 1.0,
        "original_acc_retain_test": 0.75, "retrain_acc_forget_test": 0.0, "retrain_acc_retain_test": 0.8,
        "retrain_acc_forget_train": 0.0, "retrain_acc_retain_train": 0.95, "retrain_mia_svc_member_share": 0.05,
        "retrain_seconds": 600.0, **extra,
    }  # fmt: skip
    return RunRecord(
        run_id=f"{method}-{seed}", sweep="s", method=method, dataset="digits", model="net", seed=seed, status="done",
        forget_set="single", forget_classes=[0], forget_steps=[[0]], metrics=metrics, config={},
        details={"stages": stages} if stages else {},
    )  # fmt: skip


def test_a_row_for_each_stage_with_what_it_changed() -> None:
    runs = [record(seed=seed, stages=[stage("impair", 0.0, 0.25 + 0.25 * seed)]) for seed in (0, 1)]
    rows = stage_rows([*runs, record("finetune")])
    assert [(row["method"], row["stage"], row["n"]) for row in rows] == [
        ("unsir", "original", "2"), ("unsir", "impair", "2"), ("unsir", "end", "2"),
    ]  # fmt: skip
    assert [row["A_Dr since"] for row in rows] == ["–", "-37.5", "+37.5"]
    assert [row["A_Df since"] for row in rows] == ["–", "-100.0", "+25.0"]
    assert rows[1]["A_Dr %"].startswith("37.50") and rows[2]["A_Df %"].startswith("25.00")


def test_rounds_and_steps_have_stages_of_their_own() -> None:
    stages = [stage("impair", 0.0, 0.5), stage("impair", 0.0, 0.6), stage("impair", None, 0.4, step=1)]
    rows = stage_rows([record(stages=stages)])
    assert [row["stage"] for row in rows] == [
        "original", "impair, round 1", "impair, round 2", "step 2: impair", "end",
    ]  # fmt: skip
    assert rows[3]["A_Df %"] == "–"
    # The original and the end are of both steps, the rounds of impair of the first alone.
    assert [row["A_Dr since"] for row in rows] == ["–", "–", "+10.0", "–", "+35.0"]


def test_stages_of_earlier_steps_count_the_samples_of_their_step() -> None:
    """Of 20 images in all 0 is at most 16.8 %; shares of a tenth tell of 10 in the first step, 0 is at most 30.8 %."""
    runs = []
    for seed in (0, 1):
        marked = [stage("impair", 0.0, 0.5), stage("repair", 0.1, 0.5), stage("impair", 0.0, 0.5, step=1)]
        runs.append(record(seed=seed, stages=marked, acc_forget_test=0.0))
        runs[-1].details |= {"samples": {"forget_test": 20}, "steps": [{"classes": [0]}, {"classes": [1]}]}
        for each in runs[-1].details["steps"]:
            each["metrics"] = runs[-1].metrics
    found = {row["stage"]: row["A_Df %"] for row in stage_rows(runs)}
    assert found["impair"] == "0.00 [0.00, 30.85]"
    assert found["step 2: impair"] == found["end"] == "0.00 [0.00, 16.84]"


def test_stages_count_the_samples_of_their_own_data_set() -> None:
    """Another data set of the same forget set has 10 images, which are not those of this one."""
    runs = [record(seed=seed, stages=[stage("impair", 0.0, 0.5)]) for seed in (0, 1)]
    others = [record(seed=seed, stages=[stage("impair", 0.0, 0.5)]) for seed in (2, 3)]
    for run in runs:
        run.details["samples"] = {"forget_test": 72}
    for run in others:
        run.dataset, run.details["samples"] = "other", {"forget_test": 10}
    found = [row["A_Df %"] for row in stage_rows([*runs, *others]) if row["stage"] == "impair"]
    assert found == ["0.00 [0.00, 4.99]", "0.00 [0.00, 30.85]"]


def test_stages_have_a_file_of_their_own_and_no_file_where_there_are_none(tmp_path: Path) -> None:
    assert "stages.md" not in {path.name for path in write_tables({"s": [record()]}, tmp_path / "none")}
    write_tables({"s": [record(stages=[stage("a|b\n<i>", 0.0, 0.5)])]}, tmp_path)
    text = (tmp_path / "stages.md").read_text()
    assert "a\\|b &lt;i>" in text and text.count("\n|") == 2 + 3


@pytest.mark.parametrize(
    "broken",
    [{"impair": 1}, ["impair"], [{"stage": "impair"}], [stage("impair", 1.5, 0.5)], [stage("x", 0.5, 0.5, step=-1)]],
)
def test_a_record_whose_stages_no_run_writes_is_refused(broken: Any, tmp_path: Path) -> None:
    run = record()
    run.details["stages"] = broken
    with pytest.raises(ValueError, match=r"details\.stages"):
        RunRecord.read(run.write(tmp_path))


def standard(records: list[RunRecord]) -> ComparisonTable:
    [table] = comparison_tables("s", records, columns=chosen_columns(["standard"]))
    return table


def column(table: ComparisonTable, title: str) -> dict[str, str]:
    return {line["method"].words: line[title].words for line in cells(table)}


def test_the_standard_columns_are_those_of_the_field_by_hand() -> None:
    table = standard([record(), record("scrub", acc_forget_train=0.0)])
    assert column(table, "UA %") == {"original": "–", "retrain": "100.00", "unsir": "80.00", "scrub": "100.00"}
    assert column(table, "RA %")["unsir"] == "90.00" and column(table, "TA %")["unsir"] == "75.00"
    assert column(table, "MIA %")["unsir"] == "90.00"
    # |80 - 100|, |90 - 95|, |75 - 80| and |90 - 95|
    assert column(table, "average gap") == {
        "original": "–", "retrain": "0.00", "unsir": "8.75", "scrub": "3.75",
    }  # fmt: skip
    assert column(table, "RTE, min") == {"original": "–", "retrain": "10.00", "unsir": "1.50", "scrub": "1.50"}
    assert [line["method"].words for line in cells(table) if line["average gap"].bold] == ["scrub"]
    assert not any(title.startswith("paper") for title in cells(table)[0])


def test_an_average_gap_needs_all_four() -> None:
    partial = record()
    del partial.metrics["mia_svc_member_share"]
    table = standard([partial, record("scrub")])
    assert column(table, "average gap")["unsir"] == "–" and column(table, "average gap")["scrub"] != "–"


def test_a_control_is_never_the_best_of_the_standard_table() -> None:
    masked = record("logit_mask", acc_forget_train=0.0, acc_retain_train=0.95, acc_retain_test=0.8)
    table = standard([masked, record(), record("scrub", acc_forget_train=0.0)])
    bold = {line["method"].words for line in cells(table) for cell in line.values() if cell.bold}
    assert "logit_mask" not in bold and any("logit_mask is a control" in remark for remark in table.remarks)


def test_columns_are_chosen_by_name_and_a_wrong_name_is_answered_with_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chosen_columns(["standard"]) == tuple(STANDARD.values())
    assert [each.field for each in chosen_columns(["RTE", "zrf", "RTE"])] == ["unlearn_minutes", "zrf"]
    record().write(tmp_path / "s" / "unsir-0")
    with pytest.raises(SystemExit) as left:
        main(["tables", str(tmp_path / "s"), "--columns", "UX", "--output", str(tmp_path / "out")])
    assert left.value.code == 2 and not (tmp_path / "out").exists()
    assert "UX: no such column" in (said := capsys.readouterr().err) and "average_gap" in said
    with pytest.raises(SystemExit) as left:
        main(["tables", str(tmp_path / "s"), "--columns", "standard", "--output", str(tmp_path / "out")])
    assert left.value.code == 0 and "average gap" in (tmp_path / "out" / "tables.md").read_text()


def test_gaps_of_shares_have_the_exact_limits_where_seeds_agree() -> None:
    # 0 of 10 and 0 of 10: the method's own limit upwards, retrain's downwards.
    high = 100 * (1 - 0.025 ** (1 / 10))
    assert gap_in_words([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 10) == f"0.00 [-{high:.2f}, {high:.2f}]"
    assert gap_in_words([0.1, 0.5], [0.1, 0.5], 1000) == "30.00 ± 254.12"  # the seeds leave more room
    assert gap_in_words([0.1], [0.1], 10) == "10.00" and gap_in_words([0.0, 0.0], [0.0, 0.0], None) == "0.00 ± 0.00"
    # 2 of 20 is at most 31.70 %. Student's t of 0, 3 and 3 of 20 is wider in all (10 ± 21.51), but ends at 31.51 %.
    assert gap_in_words([0.0, 0.15, 0.15], [0.0, 0.15, 0.15], 20) == "10.00 [-11.51, 31.70]"


def test_an_interval_of_a_share_stays_within_0_and_1() -> None:
    assert share_interval([0.0, 1.0], 10) == (0.5, 0.0, 1.0)
    mean, low, high = share_interval([0.0, 0.0], 10)
    assert (mean, low) == (0, 0) and high == pytest.approx(1 - 0.025 ** (1 / 10))


def test_stages_that_several_commits_made_are_marked() -> None:
    runs = [record(seed=seed, stages=[stage("impair", 0.0, 0.5)]) for seed in (0, 1)]
    for run, commit in zip(runs, "ab", strict=True):
        run.environment = {"commit": commit}
    assert [row["mixes"] for row in stage_rows(runs)] == ["2 commits"] * 3
    assert "mixes" not in stage_rows(runs[:1])[0]


def test_a_stage_of_a_reserved_name_is_not_averaged_with_the_table_s_own_row() -> None:
    rows = stage_rows([record(stages=[stage("original", 0.5, 0.5), stage("end", 0.0, 0.25)])])
    assert [row["stage"] for row in rows] == ["original", "original (marked)", "end (marked)", "end"]
    assert [row["A_Dr %"] for row in rows] == ["75.00", "50.00", "25.00", "75.00"]
