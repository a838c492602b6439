"""The page on faces says what its committed records say."""

from __future__ import annotations

import pytest

from tests.report.paper_records import (
    ACCURACIES,
    RESULTS,
    SWEEPS,
    Records,
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
FEATURES = ("verification_eer_forget", "verification_eer_retain", "verification_match_forget")
SEEDS = [0, 1, 2, 3, 4]
THREE = ("unsir, all photos", "finetune")  # methods of three seeds, where the others of their table have five
RATES = {0.02: "", 0.003: ", rates 0.003 and 0.0005", 0.001: ", rates 0.001 and 0.0005"}  # by impair's
ALIKE = ("original", "retrain", "unsir", "unsir, no noise", "random_label", "logit_mask")
IN_ALL_LAYERS = ("unsir, rates in all layers", "unsir_gentle, rates in all layers")
OF_VIT = (*ALIKE[:2], *(f"unsir{rates}" for rates in RATES.values()), "random_label", "logit_mask")
METHODS = {  # by the table's first cell
    "one person": (*ALIKE, "unsir_gentle", *IN_ALL_LAYERS),
    "ten people": (*ALIKE, "unsir, all photos", IN_ALL_LAYERS[0], "finetune"),
    "thirty people": ALIKE[:3],
    "ten people, transformer": OF_VIT,
}
PEOPLE = {"one person": 1, "ten people": 10, "thirty people": 30, "ten people, transformer": 10}
OF_RESNET = Records("faces", "ablation_noise_faces", "faces_full_rates")
ROWS = [(head, method) for head, methods in METHODS.items() for method in methods]


def of(head: str, method: str) -> list[RunRecord]:
    """Of the original's row, retrain's records: they hold its numbers under a prefix."""
    name = "retrain" if method == "original" else method
    sweeps = SWEEPS["faces_vit"] if head.endswith("transformer") else OF_RESNET
    chosen = [each for each in sweeps if (shown(each), len(each.forget_classes)) == (name, PEOPLE[head])]
    found = sorted(chosen, key=lambda record: record.seed)
    assert [each.seed for each in found] == (SEEDS[:3] if method in THREE or head.endswith("transformer") else SEEDS)
    return found


def shown(record: RunRecord) -> str:
    """The method, with what the user set."""
    if record.method not in ("unsir", "unsir_gentle"):
        return record.method
    impair = record.config["method"]["impair"]
    return "".join(
        (
            record.method,
            RATES[impair["lr"]] if record.method == "unsir" else "",
            ", no noise" if has_no_noise(record) else "",
            ", all photos" if record.config["method"]["retain_share"] == 1 else "",
            ", rates in all layers" if impair.get("backbone_lr_scale") == 1 else "",
        )
    )


def row_of(head: str, method: str) -> list[str]:
    records = of(head, method)
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


@pytest.mark.parametrize(("head", "method"), ROWS)
def test_a_row_is_that_of_its_records(head: str, method: str) -> None:
    assert table_below(PAGE, head)[method] == row_of(head, method)


@pytest.mark.parametrize("head", METHODS)
def test_the_tables_have_no_other_rows(head: str) -> None:
    assert set(table_below(PAGE, head)) == set(METHODS[head])


@pytest.mark.parametrize(("head", "drawn_together"), [("ten people", 30), ("thirty people", 60)])
def test_each_seed_forgets_people_of_its_own(head: str, drawn_together: int) -> None:
    drawn = [set(record.forget_classes) for record in of(head, "retrain")]
    assert all(len(each) == PEOPLE[head] for each in drawn) and len(set.union(*drawn)) > drawn_together
