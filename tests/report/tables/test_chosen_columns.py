"""Columns by name: every number that documents offer, digits that tell two times apart, and what LaTeX can print."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.documents import ROOT
from tests.report.tables.test_paper_tables import record
from unsir_bench.report.command import main
from unsir_bench.report.tables.comparison import comparison_tables
from unsir_bench.report.tables.paper import LATEX, cells, numbers
from unsir_bench.report.tables.standard_columns import _known, chosen_columns

COSTS = {
    "retrain_seconds": 20.0, "peak_memory_bytes": 7e8, "evaluation_seconds": 3.0, "forget_samples_touched": 0,
    "retain_samples_touched": 500, "forget_passes": 0.0, "retain_passes": 2.5, "impair_seconds": 0.5,
}  # fmt: skip


def documented() -> list[str]:
    """The first cells of the tables of docs/metrics.md below "Accuracy and scores"; phases stand for themselves."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").partition("## Accuracy and scores")[2]
    firsts = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    return [name for first in firsts for name in re.findall(r"`([a-z_0-9]+)`", first)]


def test_every_number_that_the_documents_name_can_be_a_column() -> None:
    names = documented()
    assert len(names) > 60 and set(COSTS) - {"impair_seconds"} <= set(names)
    assert [each.field for each in chosen_columns(names, COSTS)] == names
    with pytest.raises(ValueError, match="mia_los: no such column"):
        chosen_columns(["mia_los"], COSTS)


def test_costs_of_the_records_are_columns_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        record(seed=seed, metrics=COSTS).write(tmp_path / "s" / f"unsir-{seed}")
    with pytest.raises(SystemExit) as left:
        main(["tables", str(tmp_path / "s"), "--columns", ",".join(COSTS), "--output", str(tmp_path / "out")])
    assert not left.value.code, capsys.readouterr().err
    [row] = pd.read_csv(tmp_path / "out" / "tables.csv").query("method == 'unsir'").to_dict("records")
    assert {name: row[name] for name in COSTS} == COSTS


def test_times_far_below_a_minute_can_be_told_apart() -> None:
    runs = [
        record(name, seed, {"unlearn_seconds": seconds + 0.01 * seed})
        for name, seconds in (("one", 0.27), ("two", 0.35))
        for seed in (0, 1)
    ]
    [table] = comparison_tables("s", runs, columns=chosen_columns(["RTE", "unlearn_seconds"]))
    shown = {line["method"].words: (line["RTE, min"].words, line["seconds"].words) for line in cells(table)}
    # t(0.975, 1) = 12.706 times the standard error of 0.005 s
    assert shown["one"] == ("0.00458 ± 0.0011", "0.28 ± 0.06")
    assert shown["two"] == ("0.00592 ± 0.0011", "0.35 ± 0.06")
    assert shown["retrain"] == ("0.33 ± 0.00", "20.00 ± 0.00")


def test_every_mean_lies_within_its_interval() -> None:
    known = _known()
    ratios = dict.fromkeys((each.field for each in known.values()), 2.0)
    runs = [
        record(seed=seed, metrics={**dict.fromkeys(ratios, 0.25 + 0.5 * seed), "relearn_censored": seed})
        for seed in (0, 1)
    ]
    table = numbers(comparison_tables("s", runs, columns=chosen_columns(list(known))))
    checked = 0
    for field in (each.field for each in known.values()):
        for mean, low, high in table[[field, f"{field}_low", f"{field}_high"]].dropna().itertuples(index=False):
            assert low <= mean <= high, field
            checked += 1
    assert checked > 50
    [row] = table[table["method"] == "unsir"].to_dict("records")
    assert (row["relearn_censored"], row["relearn_censored_seeds"]) == (0.5, 1)


def test_latex_knows_every_letter_of_a_title_and_the_page_what_it_needs() -> None:
    letters = {letter for column in _known().values() for letter in column.title if not letter.isascii()}
    assert "ε" in letters and letters <= set(LATEX)
    page = (ROOT / "docs" / "how_to" / "latex_table.md").read_text(encoding="utf-8")
    for package in ("booktabs", "graphicx", "fontenc"):
        assert package in page
