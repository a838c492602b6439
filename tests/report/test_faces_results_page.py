"""The page on faces says what its committed records say."""

from __future__ import annotations

import pytest

from tests.report.paper_records import (
    RESULTS,
    SWEEPS,
    has_no_noise,
    interval,
    number,
    percents,
    ratio,
    stages,
    table_below,
)
from unsir_bench.records import RunRecord

PAGE = (RESULTS / "paper_faces.md").read_text(encoding="utf-8")
ACCURACIES = ("acc_retain_test", "acc_forget_test")
FEATURES = ("verification_eer_forget", "verification_eer_retain", "verification_match_forget")
SEEDS = [0, 1, 2, 3, 4]
HEADS = {1: "one person", 10: "ten people", 30: "thirty people"}
ALL_PHOTOS, NO_NOISE = "unsir, all photos", "unsir, no noise"
ALIKE = ("original", "retrain", "unsir", NO_NOISE, "random_label", "logit_mask")
METHODS = {1: (*ALIKE, "unsir_gentle"), 10: (*ALIKE, ALL_PHOTOS, "finetune"), 30: ALIKE[:3]}
RECORDS = SWEEPS["faces"] + SWEEPS["ablation_noise_faces"]
ROWS = [(people, method) for people, methods in METHODS.items() for method in methods]


def of(people: int, method: str) -> list[RunRecord]:
    """Of the original's row, retrain's records: they hold its numbers under a prefix."""
    name = "retrain" if method == "original" else method
    chosen = [each for each in RECORDS if (shown(each), len(each.forget_classes)) == (name, people)]
    found = sorted(chosen, key=lambda record: record.seed)
    assert [each.seed for each in found] == SEEDS
    return found


def shown(record: RunRecord) -> str:
    """The method, with what the user set."""
    if record.method != "unsir" or record.settings != "user":
        return record.method
    return NO_NOISE if has_no_noise(record) else ALL_PHOTOS


def row_of(people: int, method: str) -> list[str]:
    records = of(people, method)
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


@pytest.mark.parametrize(("people", "method"), ROWS)
def test_a_row_is_that_of_its_records(people: int, method: str) -> None:
    assert table_below(PAGE, HEADS[people])[method] == row_of(people, method)


def test_the_tables_have_no_other_rows() -> None:
    assert {people: set(table_below(PAGE, head)) for people, head in HEADS.items()} == {
        people: set(methods) for people, methods in METHODS.items()
    }


@pytest.mark.parametrize(("people", "drawn_together"), [(10, 20), (30, 60)])
def test_each_seed_forgets_people_of_its_own(people: int, drawn_together: int) -> None:
    drawn = [set(record.forget_classes) for record in of(people, "retrain")]
    assert all(len(each) == people for each in drawn) and len(set.union(*drawn)) > drawn_together
