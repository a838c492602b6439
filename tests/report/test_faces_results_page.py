"""The page on faces says what its committed records say."""

from __future__ import annotations

import pytest

from tests.report.paper_records import RESULTS, SWEEPS, number
from tests.report.test_results_page import interval, percents, ratio, stages
from unsir_bench.records import RunRecord

PAGE = (RESULTS / "paper_faces.md").read_text(encoding="utf-8")
ACCURACIES = ("acc_retain_test", "acc_forget_test")
FEATURES = ("verification_eer_forget", "verification_eer_retain", "verification_match_forget")
METHODS = ("original", "retrain", "unsir", "unsir, all photos", "finetune", "random_label", "logit_mask")


def of(method: str) -> list[RunRecord]:
    """Of the original's row, retrain's records: they hold its numbers under a prefix."""
    name = "retrain" if method == "original" else method.partition(",")[0]
    chosen = [each for each in SWEEPS["faces"] if each.method == name and share(each) == (1 if "," in method else 0.2)]
    found = sorted(chosen, key=lambda record: record.seed)
    assert [each.seed for each in found] == [0, 1, 2]
    return found


def share(record: RunRecord) -> float:
    """The fraction of each person's photos that the method reads; that of the experiment where it has no such key."""
    return float(record.config["method"].get("retain_share", 0.2))


def row_of(method: str) -> list[str]:
    records = of(method)
    if method == "original":
        names = [f"original_{name}" for name in (*ACCURACIES, *FEATURES)]
        found = percents(records, *names)
        return [*found[:2], "–", "–", *found[2:], "–", "–"]
    seconds = interval([number(record, "unlearn_seconds") for record in records], 0)
    return [
        *percents(records, *ACCURACIES),
        *(stages(records, *ACCURACIES) if method.startswith("unsir") else ["–", "–"]),
        *percents(records, *FEATURES),
        "0" if method == "logit_mask" else seconds,
        "1" if method == "retrain" else "–" if method == "logit_mask" else ratio(
            [number(record, "speedup_vs_retrain") for record in records]
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_a_row_of_ten_people(method: str) -> None:
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in PAGE.splitlines() if "|" in line]
    [row] = [
        line for line in lines if line[0].replace("`", "").removesuffix(" (control)") == method and len(line) == 10
    ]
    assert row[1:] == row_of(method)


def test_each_seed_forgets_ten_people_of_its_own() -> None:
    drawn = [set(record.forget_classes) for record in of("retrain")]
    assert all(len(people) == 10 for people in drawn) and len(set.union(*drawn)) > 20
