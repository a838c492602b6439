"""The command `unsir-report`: what is made from records alone, without a model, an account or a network."""

from __future__ import annotations

import argparse
import lzma
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from unsir_bench.report.folders import LINES_FILE, PACKED_FILE, Sweep, counted, gathered, read_sweep, sweep_folders
from unsir_bench.runtime.closed_pipe import ends_with_its_reader
from unsir_bench.runtime.extras import absent_package
from unsir_bench.runtime.files import write_atomic

# Each command imports what it needs: pandas, matplotlib and Plotly are slow to import, and `--help` does without them.
OUTPUTS = Path("multirun_outputs")
PUBLISHED = Path("docs") / "results"
REPORT = OUTPUTS / "report"
FIGURES = "figures"
PAGE = "report.html"
MEGABYTE = 1e6
COLUMNS_HELP = (
    "columns instead of the usual ones: 'standard' for UA,RA,TA,MIA,average_gap,RTE, which most papers print, or names "
    "of these and of metrics of the records, separated by commas"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with status 2 where there is nothing to report."""
    try:
        with ends_with_its_reader():
            chosen = _parser().parse_args(arguments)
            sys.exit(chosen.run(chosen))
    except ModuleNotFoundError as error:
        if (absent := absent_package(error)) is None:
            raise
        sys.exit(f"unsir-report: {absent}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unsir-report", description="Reports from the records of sweeps.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    html = _command(
        commands, "html", _html, "one page with tables and plots, which opens from disk",
        "Write one HTML page with sortable tables and interactive plots of sweeps. It needs no network.",
    )  # fmt: skip
    _writes(html, "FILE", REPORT / PAGE, "the page")
    for name, writers, output, summary, description in INTO_FOLDERS:
        command = _command(commands, name, _into_folder(*writers), summary, description)
        _writes(command, "DIR", output, "the folder to write to")
        if name == "tables":
            command.set_defaults(run=_tables_with_columns)
            command.add_argument("--columns", metavar="NAME,NAME", help=COLUMNS_HELP)
    gather = _command(
        commands, "gather", _gather, "the records of each sweep as one file, to be shared or committed",
        "Write the records of each sweep to DIR/<sweep>/records.jsonl, which all commands read like the folders.",
    )  # fmt: skip
    _writes(gather, "DIR", REPORT, "the folder to write to")
    gather.add_argument("--xz", action="store_true", help=f"write {PACKED_FILE}, a twentieth of the size; read alike")
    _command(
        commands, "metrics", _metrics, "every metric of a sweep as Markdown, on the terminal",
        "Print every metric of sweeps beside those of their references, as Markdown.",
    )  # fmt: skip
    return parser


def _command(commands: Any, name: str, run: Callable[..., int], summary: str, description: str) -> Any:
    """Add a command that takes folders of sweeps."""
    command = commands.add_parser(name, help=summary, description=description)
    command.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help=f"a sweep's folder, or one with sweeps below it (default: {OUTPUTS}; while that holds none, {PUBLISHED})",
    )
    command.set_defaults(run=run)
    return command


def _writes(command: Any, metavar: str, default: Path, words: str) -> None:
    command.add_argument(
        "--output", type=Path, metavar=metavar, default=default, help=f"{words} (default: %(default)s)"
    )


def _metrics(chosen: argparse.Namespace) -> int:
    from unsir_bench.report.tables.metrics import metric_tables
    from unsir_bench.report.tables.text import plain

    sweeps, status = _chosen_sweeps(chosen)
    parts = [f"**sweep {plain(name)}**\n\n{metric_tables(sweep.records)}" for name, sweep in _named(sweeps)]
    print("\n".join(parts), end="")
    return status


def _named(sweeps: Sequence[Sweep]) -> list[tuple[str, Sweep]]:
    """The sweeps by the name of their folder, or by its path where another one has the same name."""
    names = [sweep.folder.resolve().name for sweep in sweeps]
    return [
        (name if names.count(name) == 1 else sweep.folder.as_posix(), sweep)
        for name, sweep in zip(names, sweeps, strict=True)
    ]


def _gather(chosen: argparse.Namespace) -> int:
    sweeps, status = _chosen_sweeps(chosen)
    if sweeps and (refused := _no_folder(chosen.output) or _alike(sweeps)):
        print(f"unsir-report: {refused}", file=sys.stderr)
        return 2
    _tell_unreadable(sweeps, "they take no part")
    for sweep in sweeps:
        path = chosen.output / sweep.folder.resolve().name / (PACKED_FILE if chosen.xz else LINES_FILE)
        content = gathered(sweep).encode()
        write_atomic(path, lzma.compress(content, preset=9) if chosen.xz else content)
        print(f"written: {path} ({counted(len(sweep.found), 'run')})")
    return status


def _no_folder(output: Path) -> str:
    """Why nothing can be written into ``output``; empty where it is a folder, or not there yet."""
    return f"{output} is a file; --output names a folder" if output.exists() and not output.is_dir() else ""


def _alike(sweeps: Sequence[Sweep]) -> str:
    """Which two sweeps would be written to one file, since their folders have one name; empty where none would."""
    first: dict[str, Path] = {}
    for sweep in sweeps:
        name = sweep.folder.resolve().name
        if name in first:
            return (
                f"{first[name]} and {sweep.folder} are both named {name}, and one would overwrite the other; gather "
                "them one at a time, each with an --output of its own"
            )
        first[name] = sweep.folder
    return ""


def _html(chosen: argparse.Namespace) -> int:
    sweeps, status = _chosen_sweeps(chosen)
    if sweeps and chosen.output.is_dir():
        print(f"unsir-report: {chosen.output} is a folder; --output names a file", file=sys.stderr)
        return 2
    _tell_unreadable(sweeps, "the page names them")
    if sweeps:
        _write_page(sweeps, chosen.output)
    return status


def _into_folder(*writers: Callable[[list[Sweep], Path], None]) -> Callable[[argparse.Namespace], int]:
    """A command whose output is a folder, and which leaves out what cannot be read."""

    def run(chosen: argparse.Namespace) -> int:
        sweeps, status = _chosen_sweeps(chosen)
        if sweeps and (refused := _no_folder(chosen.output)):
            print(f"unsir-report: {refused}", file=sys.stderr)
            return 2
        _tell_unreadable(sweeps, "they take no part")
        for write in writers if sweeps else ():
            write(sweeps, chosen.output)
        return status

    return run


def _write_page(sweeps: list[Sweep], output: Path) -> None:
    from unsir_bench.report.html.page import write_page

    page = write_page(sweeps, output)
    size = page.path.stat().st_size / MEGABYTE
    counts = f"{counted(page.runs, 'run')} in {counted(len(sweeps), 'sweep')}"
    print(f"written: {page.path} ({counts}, {size:.1f} MB)")


def _page_below(sweeps: list[Sweep], output: Path) -> None:
    _write_page(sweeps, output / PAGE)


def _claims(sweeps: list[Sweep], output: Path) -> None:
    from unsir_bench.report.claims.document import write_claims

    records = [record for sweep in sweeps for record in sweep.records]
    written = write_claims(records, [path for sweep in sweeps for path, _ in sweep.unreadable], output)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in written.verdicts.items())
    print(f"written: {', '.join(map(str, written.paths))} ({counts})")


def _tables_with_columns(chosen: argparse.Namespace) -> int:
    """The command ``tables``; which columns there are depends on the records, too."""
    words = chosen.columns.split(",") if chosen.columns else ()
    return _into_folder(partial(_tables, words=words))(chosen)


def _tables(sweeps: list[Sweep], output: Path, words: Sequence[str] = ()) -> None:
    from unsir_bench.report.tables.paper import write_tables
    from unsir_bench.report.tables.standard_columns import COLUMNS, chosen_columns

    recorded = dict.fromkeys(name for sweep in sweeps for record in sweep.records for name in record.metrics)
    try:
        columns = chosen_columns(words, recorded) if words else COLUMNS
    except ValueError as error:
        print(f"unsir-report: {error}", file=sys.stderr)
        sys.exit(2)
    by_name = {name: sweep.records for name, sweep in _named(sweeps)}
    print(f"written: {', '.join(map(str, write_tables(by_name, output, columns)))}")


def _leaderboard(sweeps: list[Sweep], output: Path) -> None:
    from unsir_bench.report.leaderboard.site import write_site

    try:
        site = write_site(sweeps, output)
    except ValueError as error:
        sys.exit(f"unsir-report: {error}")
    print(f"written: {site.page} ({counted(site.boards, 'setting')}, {counted(site.records, 'record')})")


def _figures(sweeps: list[Sweep], output: Path) -> None:
    from unsir_bench.report.figures.draw import write_figures

    for line in write_figures(sweeps, output):
        print(line)


def _figures_below(sweeps: list[Sweep], output: Path) -> None:
    _figures(sweeps, output / FIGURES)


def _chosen_sweeps(chosen: argparse.Namespace) -> tuple[list[Sweep], int]:
    """The sweeps in the chosen folders, each once, and the exit status: 2 where a folder holds no record."""
    sweeps: dict[Path, Sweep] = {}
    status = 0
    for folder in chosen.folders or [_own_or_published()]:
        below = [read_sweep(sweep) for sweep in sweep_folders(folder)]
        if any(sweep.found for sweep in below):
            sweeps |= {sweep.folder.resolve(): sweep for sweep in below}
        else:
            _tell_nothing(folder, sum(len(sweep.unreadable) for sweep in below))
            status = 2
    return list(sweeps.values()), status


def _own_or_published() -> Path:
    """Where records lie when no folder is named: the user's own sweeps, or, before the first, the published ones."""
    if not PUBLISHED.is_dir() or sweep_folders(OUTPUTS):
        return OUTPUTS
    print(f"no sweeps below {OUTPUTS}: taking the published records below {PUBLISHED}", file=sys.stderr)
    return PUBLISHED


def _tell_unreadable(sweeps: list[Sweep], words: str) -> None:
    count = sum(len(sweep.unreadable) for sweep in sweeps)
    if count:
        print(f"{counted(count, 'record')} cannot be read; {words}", file=sys.stderr)


def _tell_nothing(folder: Path, unreadable: int) -> None:
    state = (
        f"none of the {unreadable} records below {folder} can be read"
        if unreadable
        else f"no records below {folder}" + ("" if folder.is_dir() else ", which is no folder")
    )
    print(
        f"unsir-report: {state}. A sweep makes them, such as\n"
        "  unsir-bench -m experiment=digits_demo\n"
        "which writes multirun_outputs/<sweep>/<run id>/record.json.",
        file=sys.stderr,
    )


# Commands whose output is a folder: what they write, where, and what is said of them.
INTO_FOLDERS: tuple[tuple[str, tuple[Callable[[list[Sweep], Path], None], ...], Path, str, str], ...] = (
    (
        "claims", (_claims,), REPORT,
        "the paper's claims: which hold, which fail, which these runs cannot tell",
        "Check the paper's claims on the records of sweeps; write claims.json and claims.md.",
    ),
    (
        "tables", (_tables,), REPORT,
        "comparison tables as Markdown, LaTeX and CSV, and all runs as CSV and parquet",
        "Write one comparison table per sweep, data set and model, and the files of all runs.",
    ),
    (
        "figures", (_figures,), REPORT / FIGURES,
        "figures for a paper as PDF and PNG, each with its numbers as CSV",
        "Draw every figure that the records of sweeps hold data for; name those that they do not.",
    ),
    (
        "leaderboard", (_leaderboard,), REPORT / "leaderboard",
        "methods ranked by their distance to retraining, as a site that opens from disk",
        "Write a page that ranks the methods of each setting, with filters, and the records that it is made from.",
    ),
    (
        "all", (_tables, _claims, _figures_below, _page_below), REPORT,
        "tables, claims, figures and the page of html, at once",
        "Write everything that is made from the records of sweeps, as the other commands do.",
    ),
)  # fmt: skip


if __name__ == "__main__":
    main()
