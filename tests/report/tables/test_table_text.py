"""A table as Markdown and in a terminal: no text breaks it, no number is cut."""

import pytest

from tests.report.tables.rows_of_records import record, summary, with_accuracy
from unsir_bench.report.tables.text import job_rows, markdown, print_rows


def cells(line: str) -> list[str]:
    """The cells of a GitHub table line: an escaped pipe does not end one."""
    return [cell.replace("\0", "|").strip() for cell in line.replace("\\|", "\0").strip().strip("|").split("|")]


def test_pipes_do_not_break_the_markdown_table():
    rows = summary([record(dataset="a|b", forget_set="x||y")])
    lines = markdown(rows).splitlines()
    assert {len(cells(line)) for line in lines} == {len(rows[0])}
    assert cells(lines[2])[0] == "a|b"
    assert cells(lines[2])[2] == "x||y {0}"


def test_markdown_has_a_header_a_rule_and_a_line_for_each_row():
    rows = summary([record(), record("retrain")])
    lines = markdown(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert cells(lines[0]) == list(rows[0])
    assert set(cells(lines[1])) == {"---"}
    assert [cells(line) for line in lines[2:]] == [list(row.values()) for row in rows]


def test_markdown_of_nothing_says_so():
    assert markdown([]) == "No records.\n"


def test_markup_in_names_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]):
    print_rows(summary([record(dataset="[red]set[/red]", method="[bold]")]), "sweep [blue]1[/blue]")
    printed = capsys.readouterr().out
    for text in ("[red]set[/red]", "[bold]", "sweep [blue]1[/blue]"):
        assert text in printed


@pytest.mark.parametrize("forgotten", [1, 40])
def test_a_pipe_gets_every_cell_whole(capsys: pytest.CaptureFixture[str], forgotten: int):
    values = enumerate([0.5, 0.6, 0.7])
    rows = summary([with_accuracy(seed, value, forget_classes=list(range(forgotten))) for seed, value in values])
    print_rows(rows, "t")
    printed = capsys.readouterr().out
    assert [text for text in [*rows[0], *rows[0].values()] if text not in printed] == []


def test_a_narrow_terminal_folds_numbers_and_cuts_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    rows = summary([with_accuracy(seed, value) for seed, value in enumerate([0.5, 0.6, 0.7])])
    print_rows(rows, "t")
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "digits" in printed


def test_an_empty_table_can_be_printed(capsys: pytest.CaptureFixture[str]):
    print_rows([], "nothing")
    assert "Traceback" not in capsys.readouterr().err


def test_one_run_shows_original_retrained_and_unlearned_side_by_side():
    sides = {"original_": 0.5, "retrain_": 0.25, "": 0.125}
    names = ("forget_test", "retain_test", "forget_train", "retain_train")
    metrics: dict[str, float | int | None] = {
        f"{prefix}acc_{name}": value + 0.01 * i for prefix, value in sides.items() for i, name in enumerate(names)
    }
    metrics |= {"retrain_seconds": 30.0, "unlearn_seconds": 1.5}
    rows = list(job_rows(record(metrics=metrics)))
    assert [row["model"] for row in rows] == ["original", "retrain", "unsir"]
    assert [row["A_Df test %"] for row in rows] == ["50.00", "25.00", "12.50"]
    assert [row["A_Dr train %"] for row in rows] == ["53.00", "28.00", "15.50"]
    assert [row["seconds"] for row in rows] == ["–", "30.00", "1.50"]
