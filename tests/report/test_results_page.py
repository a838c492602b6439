"""The pages on the paper's own setting say what their committed records say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache

import pytest

from tests.report.paper_records import (
    ACCURACIES,
    RESULTS,
    SWEEPS,
    Records,
    interval,
    number,
    percent,
    percents,
    ratio,
    stages,
    table_below,
)
from tests.report.paper_records import BEYOND as OF_FEATURES
from unsir_bench.records import RunRecord
from unsir_bench.report.claims.check import evaluate
from unsir_bench.report.claims.definitions import read_claims

PAGE = (RESULTS / "paper.md").read_text(encoding="utf-8")
RECORDS = Records(*(name for name in SWEEPS if name.startswith("cifar10_resnet18")))
SEVERAL = {"{0}": [0], "{1, 2}": [1, 2], "{3, 4, 5, 6}": [3, 4, 5, 6], "{3, …, 9}": list(range(3, 10))}


SEEDS = [0, 1, 2, 3]
FISHER_SEEDS = [0, 2, 3]
FAST_SEEDS = [0, 1, 2]  # of the other recipe


@cache
def on_idle_cores() -> dict[tuple[str, int], RunRecord]:
    """Their seconds on two idle cores; the other runs of these methods and this seed shared the cores."""
    return {(each.method, each.seed): each for each in SWEEPS["headline"]}


def records_of(method: str, classes: list[int]) -> list[RunRecord]:
    """Those of all training seeds; Fisher forgetting ran on some of them alone."""
    found = [each for each in RECORDS if (each.method, each.forget_classes) == (method, classes)]
    found.sort(key=lambda record: record.seed)
    assert [each.seed for each in found] == (FISHER_SEEDS if method == "fisher" else SEEDS)
    return found


def missing(values: Sequence[object]) -> str:
    """The number of seeds, where some did not run."""
    return "" if len(values) == len(SEEDS) else f" (n = {len(values)})"


def by_seed(records: Sequence[RunRecord], words: Callable[[RunRecord], str], seeds: Sequence[int] = SEEDS) -> str:
    """The words of each seed, a dash for one that did not run, where only some methods lack it."""
    found = {record.seed: words(record) for record in records}
    return " / ".join(found.get(seed, "–") for seed in seeds)


def timed(record: RunRecord) -> RunRecord:
    """The run of the same method, forget set, recipe and seed on idle cores, where there is one."""
    alike = record.forget_classes == [0] and record.config["train"]["name"] == "published"
    return on_idle_cores().get((record.method, record.seed), record) if alike else record


def seconds(records: Sequence[RunRecord], seeds: Sequence[int] = SEEDS) -> str:
    return by_seed(records, lambda record: f"{number(timed(record), 'unlearn_seconds'):,.0f}", seeds)


def speedup(records: Sequence[RunRecord]) -> str:
    return ratio([number(timed(record), "speedup_vs_retrain") for record in records])


def relearned(record: RunRecord) -> str:
    found = record.metrics["relearn_batches"]
    return f"> {record.relearn_cap}" if found is None else f"{found:.0f}"


def rows(start: str) -> list[list[str]]:
    """The cells of the page's lines that begin with ``start``."""
    lines = [line for line in PAGE.splitlines() if line.startswith(start)]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]


PRESETS = ["unsir", "unsir_notebook", "unsir_gentle", "unsir_later"]


@pytest.mark.parametrize("method", [*PRESETS, "finetune", "random_label", "amnesiac", "fisher", "neggrad"])
def test_a_row_of_one_class(method: str) -> None:
    row = next(row for row in rows(f"| `{method}` |") if len(row) == 8)
    found = records_of(method, [0])
    assert row[1:] == [
        *(cell + missing(found) for cell in percents(found, *ACCURACIES)),
        *(stages(found, *ACCURACIES) if method in PRESETS else ["–", "–"]),
        by_seed(found, relearned),
        seconds(found),
        speedup(found) + missing(found),
    ]


def test_the_rows_of_the_references_and_of_the_control() -> None:
    for first, method in (("original", "original"), ("retrain", "retrain"), ("`logit_mask` (control)", "logit_mask")):
        row = next(row for row in rows(f"| {first} |") if len(row) == 8)
        found = records_of(method, [0])
        assert [row[1], row[2], row[5]] == [*percents(found, *ACCURACIES), by_seed(found, relearned)]
        if method == "retrain":
            assert row[6] == seconds(found)


def test_the_readme_shows_the_rows_of_the_page() -> None:
    readme = (RESULTS.parents[1] / "README.md").read_text(encoding="utf-8")
    for name in ("original", "retrain", "`unsir`", "`unsir_notebook`", "`random_label`"):
        page = next(row for row in rows(f"| {name} |") if len(row) == 8)
        line = next(line for line in readme.splitlines() if line.startswith(f"| {name} "))
        shown = [cell.strip() for cell in line.strip("| ").split("|")]
        assert shown[1:] == [*page[1:3], *page[5:]]


# Columns of the table of what accuracies do not tell: the field, what 1 stands for in a cell, and its digits.
BEYOND = [
    ("probe_linear_auc", 100, 1), ("retention_forget_accuracy", 100, 1), ("mia_loss_accuracy", 100, 1),
    ("weight_distance_to_original_relative", 1, 2), ("weight_distance_to_retrain_relative", 1, 2), ("zrf", 1, 2),
    ("tow", 1, 2),
]  # fmt: skip


def beyond(records: Sequence[RunRecord]) -> list[str]:
    cells = [interval([unit * number(record, name) for record in records], n) for name, unit, n in BEYOND]
    return [cell + missing(records) for cell in cells]


def test_the_table_of_what_accuracies_do_not_tell() -> None:
    part = PAGE[PAGE.index("## What accuracies do not tell") :].split("\n\n")[1].splitlines()[2:]
    found = {shown[0].strip("` "): shown[1:] for shown in ([*line.strip("| ").split(" | ")] for line in part)}
    assert len(found) == 9
    for method, shown in found.items():
        assert shown == beyond(records_of(method, [0]))


def several(preset: str, classes: str) -> list[str]:
    found = records_of(preset, SEVERAL[classes])
    gains = [
        100 * (number(record, "acc_retain_test") - record.details["stages"][0]["acc_retain_test"]) for record in found
    ]
    [original, kept, forgotten] = percents(found, "original_acc_retain_test", *ACCURACIES)
    gained = interval(gains).replace("-", "−")
    signed = gained if gained.startswith("−") else f"+{gained}"
    return [original, *stages(found, "acc_retain_test"), kept, signed, forgotten, seconds(found)]


@pytest.mark.parametrize("classes", SEVERAL)
@pytest.mark.parametrize("preset", ["unsir", "unsir_notebook"])
def test_a_row_of_several_classes(preset: str, classes: str) -> None:
    [row] = rows(f"| {classes} | `{preset}` |")
    assert row[2:] == several(preset, classes)


def test_the_rows_of_one_class_after_another() -> None:
    [record] = SWEEPS["cifar10_sequential_paper"]
    steps = [step["metrics"] for step in record.details["steps"]]
    columns = [
        [f"{100 * step['original_acc_retain_test']:.1f}" for step in steps],
        [f"{100 * stage['acc_retain_test']:.1f}" for stage in record.details["stages"]],
        *([f"{100 * step[name]:.1f}" for step in steps] for name in ACCURACIES),
        [f"{step['unlearn_seconds']:.0f}" for step in steps],
    ]
    assert (record.seed, record.config["forget"]["sequence"]) == (2, [[0], [1], [2]])
    assert [tuple(row) for row in table_below(PAGE, "forgotten").values()] == list(zip(*columns, strict=True))


def test_the_notebooks_own_case() -> None:
    for preset in ("unsir", "unsir_notebook"):
        [row] = [row for row in rows(f"| `{preset}` |") if len(row) == 5]
        found = records_of(preset, [0, 2])
        assert row[1:] == [*stages(found, *ACCURACIES[::-1]), *percents(found, *ACCURACIES[::-1])]


def of_recipe(sweep: str) -> dict[str, list[str]]:
    """By method and rates: the cells after the recipe and the method."""
    seeds = FAST_SEEDS if sweep == "fast_retrain_paper" else SEEDS
    records = [each for each in SWEEPS[sweep] if each.method in ("retrain", "unsir", "unsir_notebook")]
    assert {each.seed for each in records} == set(seeds)
    named: dict[str, list[RunRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.seed):
        impair, repair = (record.config["method"].get(part, {}).get("lr") for part in ("impair", "repair"))
        name = record.method + (f", rates {impair} and {repair}" if record.settings == "user" else "")
        named[name].append(record)
    originals = percents(named["retrain"], *(f"original_{name}" for name in ACCURACIES))
    found = {name: [*percents(each, *ACCURACIES), seconds(each, seeds), speedup(each)] for name, each in named.items()}
    return {"original": [*originals, "–", "–"], **found, "retrain": [*found["retrain"][:3], "1"]}


@pytest.mark.parametrize(
    ("recipe", "sweep"), [("published", "cifar10_resnet18_single"), ("fast", "fast_retrain_paper")]
)
def test_the_rows_of_each_retraining(recipe: str, sweep: str) -> None:
    assert {row[1].replace("`", ""): row[2:] for row in rows(f"| `{recipe}` |")} == of_recipe(sweep)


def test_all_records_of_a_seed_and_sweep_are_of_one_clean_commit_and_one_cpu() -> None:
    made_in: dict[tuple[int, str], set[tuple[str, ...]]] = defaultdict(set)
    for name, records in SWEEPS.items():
        for each in records:
            assert each.environment["dirty"] is False
            made = tuple(each.environment[name] for name in ("commit", "cpu", "cpu_capability"))
            made_in[each.seed, name].add(made)
    assert {seed for seed, name in made_in if name.startswith("cifar10_resnet18")} == set(SEEDS)
    assert all(len(found) == 1 for found in made_in.values())
    assert "(n = 4)" in PAGE.splitlines()[0]


def test_make_headline_gives_the_numbers_of_the_other_sweep_bit_for_bit() -> None:
    for (method, seed), idle in on_idle_cores().items():
        record = records_of(method, [0])[seed]
        assert percent(idle, *ACCURACIES) == percent(record, *ACCURACIES)
        assert idle.metrics["acc_retain_train"] == record.metrics["acc_retain_train"]


CLAIMS = {  # by the table's first cell
    "A_Df falls to about zero": "forgets",
    "A_Dr stays near the original's (at most 8.5 points less)": "retains",
    "forgotten samples are spread as after retraining": "predictions_like_retrain",
    "weights move as in retraining": "weights_like_retrain",
    "faster than retraining": "faster_than_retrain",
    "faster than Fisher forgetting": "faster_than_fisher",
    "reads no forgotten sample": "zero_glance",
}
OVER_SETS = {
    "several classes need about as many steps as one": "steps_independent_of_classes",
    "repair gets more effective with more classes": "repair_improves_with_classes",
}


def test_the_verdicts_on_the_papers_claims() -> None:
    findings = [each for each in evaluate(RECORDS, read_claims()) if (each.preset, each.setting) == ("unsir", "")]
    found = {
        (each.claim, each.forget.partition(" ")[2].replace("3, 4, 5, 6, 7, 8, 9", "3, …, 9")): each.verdict
        for each in findings
    }
    over_sets = {each.claim: each.verdict for each in findings if each.forget.count("{") > 1}
    shown = table_below(PAGE, "claim")
    assert {claim: cells for claim, cells in shown.items() if claim in CLAIMS} == {
        words: [found[name, classes] for classes in SEVERAL] for words, name in CLAIMS.items()
    }
    assert {claim: cells[0] for claim, cells in shown.items() if claim in OVER_SETS} == {
        words: over_sets[name] for words, name in OVER_SETS.items()
    }


def of_several(classes: str) -> dict[str, list[str]]:
    """Rows by method, of the one seed whose retrained models exist; UNSIR's record holds the references' numbers."""
    runs = {each.method: each for each in RECORDS if (each.forget_classes, each.seed) == (SEVERAL[classes], 2)}
    names = (*ACCURACIES, *OF_FEATURES)
    retrained = f"{number(runs['retrain'], 'unlearn_seconds'):,.0f}"
    found = {
        "original": [*percents([runs["unsir"]], *(f"original_{name}" for name in names)), "–", "–"],
        "retrain": [*percents([runs["unsir"]], *(f"retrain_{name}" for name in names)), retrained, "1"],
    }
    for preset in ("unsir", "unsir_notebook"):
        seconds, times = (f"{number(runs[preset], name):.0f}" for name in ("unlearn_seconds", "speedup_vs_retrain"))
        found[preset] = [*percents([runs[preset]], *names), seconds, times]
    return found


def test_the_table_of_retraining_for_several_classes() -> None:
    made = {f"{classes}, {name}": row for classes in list(SEVERAL)[1:] for name, row in of_several(classes).items()}
    assert table_below(PAGE, "forget, seed 2") == made
