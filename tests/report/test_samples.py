"""Of how many samples a share is where records are older, mixed, or lack it: never more than there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.command import main
from unsir_bench.report.data import model_table
from unsir_bench.report.samples import samples_of
from unsir_bench.report.tables.metrics import metric_tables
from unsir_bench.report.tables.table import summary


def record(seed: int = 0, accuracy: float | None = 0.5, name: str = "", **changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "run_id": f"unsir-{seed}{name}", "sweep": "s", "method": "unsir", "dataset": "digits", "model": "net",
        "seed": seed, "config": {}, "status": "done", "forget_set": "single", "forget_classes": [0],
        "metrics": {"acc_forget_test": accuracy, "acc_retain_test": 0.5},
    }  # fmt: skip
    return RunRecord(**{**fields, **changes})


def drawn(seed: int, classes: list[int]) -> RunRecord:
    return record(
        seed, forget_set="random_k", forget_classes=classes, config={"forget": {"random_k": 2}},
        metrics={"acc_forget_test": 0.5, "acc_retain_test": 0.5, "mia_svc_member_share": None},
        details={"samples": {"forget_train": 20, "forget_test": 10, "retain_test": 90}},
    )  # fmt: skip


@pytest.mark.parametrize("other", [[], [record(7, name="-single")]], ids=["alone", "beside forget=single"])
def test_classes_drawn_by_seed_need_no_run_that_measured_a_share(tmp_path: Path, other: list[RunRecord]) -> None:
    runs = [drawn(0, [1, 2]), drawn(1, [3, 4]), *other]
    rows = model_table(runs)
    place = rows[rows["forget"].str.startswith("random_k")]
    assert samples_of(place, "mia_svc_member_share") == 20
    assert samples_of(place, "acc_forget_test") == 20, "10 of either seed, of other classes"
    for run in runs:
        run.write(tmp_path / "s" / run.run_id)
    with pytest.raises(SystemExit) as ended:
        main(["tables", str(tmp_path / "s"), "--output", str(tmp_path / "out")])
    assert not ended.value.code


def test_two_test_sets_in_one_place_are_never_taken_for_a_larger_one() -> None:
    """Shares of 358 and of 90 images have the common denominator 16110, which no run has."""
    runs = [
        record(seed, right / images, f"-{images}", config={"dataset": {"name": "digits", "subset": subset}})
        for images, subset in ((358, None), (90, 20))
        for seed, right in enumerate((1, 7))
    ]
    assert samples_of(model_table(runs), "acc_forget_test") == 90


def test_draws_of_one_training_seed_make_no_denominator_of_their_mean() -> None:
    """Means of three draws are of thirds of an image: 1074 samples, where there are 358."""
    runs = [
        record(seed, right / 358, f"-{draw}", config={"unlearn_seed": draw})
        for seed in (0, 1)
        for draw, right in enumerate((1, 3, 7))
    ]
    [row] = summary(model_table(runs))
    percent = [float(end) for end in row["A_Df %"].partition("[")[2].rstrip("]").split(", ")]
    [line] = [line for line in metric_tables(runs).splitlines() if line.startswith("| acc_forget_test |")]
    shares = [float(end) for end in line.partition("[")[2].partition("]")[0].split(", ")]
    assert [100 * share for share in shares] == pytest.approx(percent, rel=0.05)
