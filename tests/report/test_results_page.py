"""The pages on the paper's own setting say what their committed records say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from unsir_bench.records import RunRecord
from unsir_bench.report.folders import read_sweep, sweep_folders
from unsir_bench.report.tables.comparison import comparison_tables
from unsir_bench.report.tables.paper import cells
from unsir_bench.report.tables.standard_columns import chosen_columns

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
PAGE = (RESULTS / "paper.md").read_text(encoding="utf-8")
ABLATIONS = (RESULTS / "paper_ablations.md").read_text(encoding="utf-8")
SWEEPS = {folder.name: read_sweep(folder).records for folder in sweep_folders(RESULTS / "paper")}
RECORDS = [record for name, found in SWEEPS.items() if name.startswith("cifar10_resnet18") for record in found]
SEVERAL = {"{0}": [0], "{1, 2}": [1, 2], "{3, 4, 5, 6}": [3, 4, 5, 6], "{3, …, 9}": list(range(3, 10))}


# Their seconds on two idle cores; the other runs of these methods and this seed shared the cores.
IDLE = {(each.method, each.seed): each for each in SWEEPS["headline"]}


def records_of(method: str, classes: list[int]) -> list[RunRecord]:
    """Those of both training seeds; Fisher forgetting ran on the first alone."""
    found = [each for each in RECORDS if (each.method, each.forget_classes) == (method, classes)]
    found.sort(key=lambda record: record.seed)
    assert [each.seed for each in found] == ([0] if method == "fisher" else [0, 1])
    return found


def both(records: Sequence[RunRecord], words: Callable[[RunRecord], Sequence[str]]) -> list[str]:
    """The cells of a row, each with the words of one seed after the other, a dash for one that did not run."""
    cells = [" / ".join(each) for each in zip(*map(words, records), strict=True)]
    return cells if len(records) > 1 else [f"{cell} / –" for cell in cells]


def timed(record: RunRecord) -> RunRecord:
    """The run of the same method, forget set, recipe and seed on idle cores, where there is one."""
    alike = record.forget_classes == [0] and record.config["train"]["name"] == "published"
    return IDLE.get((record.method, record.seed), record) if alike else record


def seconds(record: RunRecord) -> str:
    return f"{timed(record).metrics['unlearn_seconds']:,.0f}"


def speedup(record: RunRecord) -> str:
    return f"{timed(record).metrics['speedup_vs_retrain']:.0f}"


def relearned(record: RunRecord) -> str:
    found = record.metrics["relearn_batches"]
    return f"> {record.relearn_cap}" if found is None else f"{found:.0f}"


def percent(record: RunRecord, *names: str) -> list[str]:
    return [f"{100 * record.metrics[name]:.2f}" for name in names]  # type: ignore[operator]


def after_impair(record: RunRecord, *names: str) -> list[str]:
    [stage] = record.details["stages"]
    return [f"{100 * stage[name]:.2f}" for name in names]


def rows(start: str) -> list[list[str]]:
    """The cells of the page's lines that begin with ``start``."""
    lines = [line for line in PAGE.splitlines() if line.startswith(start)]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]


ACCURACIES = ("acc_retain_test", "acc_forget_test")
PRESETS = ["unsir", "unsir_notebook", "unsir_gentle", "unsir_later"]


@pytest.mark.parametrize("method", [*PRESETS, "finetune", "random_label", "amnesiac", "fisher", "neggrad"])
def test_a_row_of_one_class(method: str) -> None:
    row = next(row for row in rows(f"| `{method}` |") if len(row) == 8)
    stages = [after_impair(each, *ACCURACIES) for each in records_of(method, [0])] if method in PRESETS else []
    assert row[1:] == [
        *both(records_of(method, [0]), lambda record: percent(record, *ACCURACIES)),
        *([" / ".join(cells) for cells in zip(*stages, strict=True)] or ["–", "–"]),
        *both(records_of(method, [0]), lambda record: [relearned(record), seconds(record), speedup(record)]),
    ]


def test_the_rows_of_the_references_and_of_the_control() -> None:
    for first, method in (("original", "original"), ("retrain", "retrain"), ("`logit_mask` (control)", "logit_mask")):
        row = next(row for row in rows(f"| {first} |") if len(row) == 8)
        found = both(records_of(method, [0]), lambda record: [*percent(record, *ACCURACIES), relearned(record)])
        assert [row[1], row[2], row[5]] == found


# Columns of the table of what accuracies do not tell: the field, what 1 stands for in a cell, and its digits.
BEYOND = [
    ("probe_linear_auc", 100, 1), ("retention_forget_accuracy", 100, 1), ("mia_loss_accuracy", 100, 1),
    ("weight_distance_to_original_relative", 1, 2), ("weight_distance_to_retrain_relative", 1, 2), ("zrf", 1, 2),
    ("tow", 1, 2),
]  # fmt: skip


def beyond(record: RunRecord) -> list[str]:
    values = [(record.metrics.get(name), unit, digits) for name, unit, digits in BEYOND]
    return ["–" if value is None else f"{value * unit:.{digits}f}" for value, unit, digits in values]


def test_the_table_of_what_accuracies_do_not_tell() -> None:
    part = PAGE[PAGE.index("## What accuracies do not tell") :].split("\n\n")[1].splitlines()[2:]
    found = {shown[0].strip("` "): shown[1:] for shown in ([*line.strip("| ").split(" | ")] for line in part)}
    assert len(found) == 9
    for method, shown in found.items():
        assert shown == both(records_of(method, [0]), beyond)


@pytest.mark.parametrize("classes", SEVERAL)
@pytest.mark.parametrize("preset", ["unsir", "unsir_notebook"])
def test_a_row_of_several_classes(preset: str, classes: str) -> None:
    def cells(record: RunRecord) -> list[str]:
        [stage] = record.details["stages"]
        gain = 100 * (record.metrics["acc_retain_test"] - stage["acc_retain_test"])
        original, kept, forgotten = percent(record, "original_acc_retain_test", *ACCURACIES)
        impaired = after_impair(record, "acc_retain_test")
        return [original, *impaired, kept, f"{gain:+.1f}".replace("-", "−"), forgotten, seconds(record)]

    [row] = rows(f"| {classes} | `{preset}` |")
    assert row[2:] == both(records_of(preset, SEVERAL[classes]), cells)


def test_the_notebooks_own_case() -> None:
    for preset in ("unsir", "unsir_notebook"):
        [row] = [row for row in rows(f"| `{preset}` |") if len(row) == 5]
        stages = both(records_of(preset, [0, 2]), lambda record: after_impair(record, *ACCURACIES[::-1]))
        assert row[1:] == [
            *stages,
            *both(records_of(preset, [0, 2]), lambda record: percent(record, *ACCURACIES[::-1])),
        ]


@pytest.mark.parametrize(
    ("recipe", "sweep"), [("published", "cifar10_resnet18_single"), ("fast", "fast_retrain_paper")]
)
def test_the_rows_of_each_retraining(recipe: str, sweep: str) -> None:
    found = {row[1].replace("`", ""): row[2:] for row in rows(f"| `{recipe}` |")}
    original = found.pop("original")
    records = [each for each in SWEEPS[sweep] if each.method in ("retrain", "unsir", "unsir_notebook")]
    named: dict[str, list[RunRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.seed):
        impair, repair = (record.config["method"].get(part, {}).get("lr") for part in ("impair", "repair"))
        name = record.method + (f", rates {impair} and {repair}" if record.settings == "user" else "")
        named[name].append(record)
    originals = [f"original_{name}" for name in ACCURACIES]
    assert original[:2] == both(named["retrain"], lambda record: percent(record, *originals))
    for name, each in named.items():
        row = both(each, lambda record: [*percent(record, *ACCURACIES), seconds(record), speedup(record)])
        assert found.pop(name) == ([*row[:3], "1"] if name == "retrain" else row)
    assert not found


# The first cell of a table's header, the sweep, the setting that its rows vary, and what 1 in a cell stands for.
VARIED = [
    ("share of each retain class", "retain_share", "retain_share", 0.01),
    ("rate", "impair_rate", "impair.lr", 1),
    ("λ", "lambda", "noise.weight_penalty", 1),
    ("epochs", "repair_epochs", "repair.epochs", 1),
]
ODDITIES = ("corrected", "three_images", "label_zero", "batch_statistics", "all_three")


def table(first: str) -> list[dict[str, str]]:
    """The rows of the table of the ablations whose header begins with ``first``, by the cells of the header."""
    lines = ABLATIONS[ABLATIONS.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def measured(record: RunRecord, header: str) -> str:
    if header == "seconds":
        return f"{record.metrics['unlearn_seconds']:.0f}"
    name = {"A_Dr": "acc_retain_test", "A_Df": "acc_forget_test"}[header.split(" ", maxsplit=1)[0]]
    [value] = after_impair(record, name) if header.endswith("after impair") else percent(record, name)
    return value


def assert_measured(row: dict[str, str], record: RunRecord) -> None:
    measures = {header: cell for header, cell in row.items() if header == "seconds" or header.startswith("A_D")}
    assert len(measures) >= 3 and measures == {header: measured(record, header) for header in measures}


@pytest.mark.parametrize(("first", "sweep", "setting", "unit"), VARIED)
def test_a_table_of_one_varied_setting(first: str, sweep: str, setting: str, unit: float) -> None:
    records = {float(OmegaConf.select(OmegaConf.create(each.config), f"method.{setting}")): each
               for each in SWEEPS[f"ablation_{sweep}_paper"]}  # fmt: skip
    found = {round(float(row[first].split(" ")[0]) * unit, 6): row for row in table(first)}
    assert found.keys() == records.keys()
    for value, row in found.items():
        assert_measured(row, records[value])


def test_the_table_of_both_rates() -> None:
    records = {(each.config["method"]["impair"]["lr"], each.config["method"]["repair"]["lr"]): each
               for each in SWEEPS["ablation_learning_rates_paper"]}  # fmt: skip
    found = {
        (float(row["impair; repair"]), float(rate)): cell
        for row in table("impair; repair")
        for rate, cell in row.items()
        if rate != "impair; repair"
    }
    assert len(found) == 20
    assert found == {
        rates: " / ".join(percent(each, "acc_retain_test", "acc_forget_test")) for rates, each in records.items()
    }


def test_the_table_of_fewer_images() -> None:
    found = {
        (row["training images"] == "10,000", int(row["batches"])): (row.pop("original A_Dr %"), row)
        for row in table("training images")
    }
    for record in SWEEPS["why_unsir"]:
        key = (record.config["dataset"]["subset"] == 1000, record.config["method"]["noise"]["batch_size"])
        original, row = found.pop(key)
        assert [original] == percent(record, "original_acc_retain_test")
        assert_measured(row, record)
    assert not found


def test_the_table_of_the_notebooks_oddities() -> None:
    records = {each.method: each for each in SWEEPS["ablation_fidelity_paper"]}
    for row, method in zip(table("noise"), ODDITIES, strict=True):
        assert_measured(row, records[method])


AT_SCALE_CPU = [  # sweep and network of each table, in the order of the page
    ("cifar10_single_cpu", "resnet18_slim"), ("cifar10_single_cpu", "allcnn_slim"),
    ("cifar10_several_cpu", "resnet18_slim"), ("cifar10_several_cpu", "allcnn_slim"),
    ("omniglot100_cpu", "resnet18_slim"),
]  # fmt: skip


def test_the_tables_at_scale_cpu_are_what_the_report_makes_of_their_records() -> None:
    page = (RESULTS / "paper_cpu.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| forget \| method .*\n(?:\|.*\n)+", page, flags=re.MULTILINE)
    for text, (sweep, model) in zip(tables, AT_SCALE_CPU, strict=True):
        made = comparison_tables(sweep, read_sweep(RESULTS / sweep).records)
        [known] = [cells(table) for table in made if table.model == model]
        by_place = {(line["forget"].words, line["method"].words): line for line in known}
        header, _, *lines = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines())
        assert len(lines) == len(by_place)
        for line in lines:
            found = by_place[line[0], line[1]]
            words = [
                f"**{found[title].words}**" if found[title].bold else found[title].words or "–" for title in header
            ]
            assert line == words


def test_the_table_of_eleven_methods_on_another_cpu() -> None:
    page = (RESULTS / "cifar10_10k_tuned.md").read_text(encoding="utf-8")
    part = page[page.index("## Eleven more") :].split("\n\n")[2].splitlines()[2:]
    found = sorted((line[0].strip("`"), *line[3:6]) for line in ([*row.strip("| ").split(" | ")] for row in part))
    done = [each for each in read_sweep(RESULTS / "cifar10_10k_tuned_epyc").records if each.status == "done"]
    seconds = {each.run_id: f"{each.metrics['unlearn_seconds']:.2f}" for each in done}
    assert len(done) == 25
    assert found == sorted(
        (
            each.method,
            *percent(each, "acc_forget_test", "acc_retain_test"),
            "–" if each.method == "original" else seconds[each.run_id],
        )
        for each in done
    )


def test_the_table_of_gkt_on_another_cpu() -> None:
    page = (RESULTS / "digits_tuned.md").read_text(encoding="utf-8")
    part = page[page.index("## `gkt`, on another CPU") :].split("\n\n")[2].splitlines()[2:]
    sweep = read_sweep(RESULTS / "digits_tuned_gkt").records
    columns = chosen_columns(["acc_forget_test", "acc_retain_test", "unlearn_seconds"])
    [table] = comparison_tables("gkt", sweep, columns=columns)
    made = [
        [line["forget"].words.split(" ", 1)[1], line["method"].words, line["setting"].words or "–"]
        + [line[title].words for title in ("A_Df %", "A_Dr %", "seconds")]
        for line in cells(table)
    ]
    assert [[cell.strip("`") for cell in row.strip("| ").split(" | ")] for row in part] == made


def test_all_records_of_a_seed_are_of_one_clean_commit_and_one_cpu() -> None:
    made_in: dict[int, set[tuple[str, ...]]] = defaultdict(set)
    for each in chain.from_iterable(SWEEPS.values()):
        assert each.environment["dirty"] is False
        made_in[each.seed].add(tuple(each.environment[name] for name in ("commit", "cpu", "cpu_capability")))
    assert sorted(made_in) == [0, 1]
    assert all(len(found) == 1 for found in made_in.values())
    assert len(re.findall(r"n = 2", PAGE)) >= 2 and len(re.findall(r"n = 1", ABLATIONS)) >= 2


def test_make_headline_gives_the_numbers_of_the_other_sweep_bit_for_bit() -> None:
    for (method, seed), idle in IDLE.items():
        record = records_of(method, [0])[seed]
        assert percent(idle, *ACCURACIES) == percent(record, *ACCURACIES)
        assert idle.metrics["acc_retain_train"] == record.metrics["acc_retain_train"]
