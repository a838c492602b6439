"""Tables of further pages of results are what the report makes of their committed records."""

from __future__ import annotations

import re

from tests.report.paper_records import RESULTS, percent
from unsir_bench.report.folders import read_sweep
from unsir_bench.report.tables.comparison import comparison_tables
from unsir_bench.report.tables.paper import cells
from unsir_bench.report.tables.standard_columns import chosen_columns

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
