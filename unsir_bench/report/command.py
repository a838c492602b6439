"""The command `unsir-report`: what is made from records alone, without a model, an account or a network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from unsir_bench.report.claims import write_claims
from unsir_bench.report.html_page import Sweep, read_sweep, sweep_folders, write_page
from unsir_bench.report.metric_table import metric_tables
from unsir_bench.report.paper_tables import write_tables

OUTPUTS = Path("multirun_outputs")
REPORT = OUTPUTS / "report"
MEGABYTE = 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with status 2 where there is nothing to report."""
    chosen = _parser().parse_args(arguments)
    sys.exit(chosen.run(chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unsir-report", description="Reports from the records of sweeps.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    html = _command(
        commands, "html", _html, "one page with tables and plots, which opens from disk",
        "Write one HTML page with sortable tables and interactive plots of sweeps. It needs no network.",
    )  # fmt: skip
    _writes(html, "FILE", REPORT / "report.html", "the page")
    claims = _command(
        commands, "claims", _claims, "the paper's claims: which hold, which fail, which these runs cannot tell",
        "Check the paper's claims on the records of sweeps; write claims.json and claims.md.",
    )  # fmt: skip
    _writes(claims, "DIR", REPORT, "the folder to write to")
    tables = _command(
        commands, "tables", _tables, "comparison tables as Markdown, LaTeX and CSV, and all runs as CSV and parquet",
        "Write one comparison table per sweep, data set and model, and the files of all runs.",
    )  # fmt: skip
    _writes(tables, "DIR", REPORT, "the folder to write to")
    figures = _command(
        commands, "figures", _figures, "figures for a paper as PDF and PNG, each with its numbers as CSV",
        "Draw every figure that the records of sweeps hold data for; name those that they do not.",
    )  # fmt: skip
    _writes(figures, "DIR", REPORT / "figures", "the folder to write to")
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
        default=[OUTPUTS],
        help="a sweep's folder, or one with sweeps below it (default: every sweep below multirun_outputs)",
    )
    command.set_defaults(run=run)
    return command


def _writes(command: Any, metavar: str, default: Path, words: str) -> None:
    command.add_argument(
        "--output", type=Path, metavar=metavar, default=default, help=f"{words} (default: %(default)s)"
    )


def _metrics(chosen: argparse.Namespace) -> int:
    sweeps = _chosen_sweeps(chosen)
    if isinstance(sweeps, int):
        return sweeps
    print("\n".join(metric_tables(sweep.records) for sweep in sweeps), end="")
    return 0


def _html(chosen: argparse.Namespace) -> int:
    sweeps = _chosen_sweeps(chosen)
    if isinstance(sweeps, int):
        return sweeps
    if chosen.output.is_dir():
        print(f"unsir-report: {chosen.output} is a folder; --output names a file", file=sys.stderr)
        return 2
    page = write_page(sweeps, chosen.output)
    _tell_unreadable(len(page.unreadable), "the page names them", sys.stdout)
    size = page.path.stat().st_size / MEGABYTE
    print(f"written: {page.path} ({page.runs} runs in {len(sweeps)} sweeps, {size:.1f} MB)")
    return 0


def _claims(chosen: argparse.Namespace) -> int:
    sweeps = _sweeps_to_folder(chosen)
    if isinstance(sweeps, int):
        return sweeps
    records = [record for sweep in sweeps for record in sweep.records]
    written = write_claims(records, [path for sweep in sweeps for path, _ in sweep.unreadable], chosen.output)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in written.verdicts.items())
    print(f"written: {', '.join(map(str, written.paths))} ({counts})")
    return 0


def _tables(chosen: argparse.Namespace) -> int:
    sweeps = _sweeps_to_folder(chosen)
    if isinstance(sweeps, int):
        return sweeps
    names = [sweep.folder.resolve().name for sweep in sweeps]
    by_name = {
        name if names.count(name) == 1 else sweep.folder.as_posix(): sweep.records
        for name, sweep in zip(names, sweeps, strict=True)
    }
    print(f"written: {', '.join(map(str, write_tables(by_name, chosen.output)))}")
    return 0


def _figures(chosen: argparse.Namespace) -> int:
    sweeps = _sweeps_to_folder(chosen)
    if isinstance(sweeps, int):
        return sweeps
    # Drawing for print is slow to import, and the other commands do without it.
    from unsir_bench.report.figures import write_figures

    for line in write_figures(sweeps, chosen.output):
        print(line)
    return 0


def _chosen_sweeps(chosen: argparse.Namespace) -> list[Sweep] | int:
    """The sweeps in the chosen folders, each once, or the exit status where one holds no record."""
    sweeps: dict[Path, Sweep] = {}
    for folder in chosen.folders:
        below = [read_sweep(sweep) for sweep in sweep_folders(folder)]
        if not any(sweep.found for sweep in below):
            return _nothing(folder, sum(len(sweep.unreadable) for sweep in below))
        sweeps |= {sweep.folder.resolve(): sweep for sweep in below}
    return list(sweeps.values())


def _sweeps_to_folder(chosen: argparse.Namespace) -> list[Sweep] | int:
    """Likewise, for a command whose output is a folder and which leaves out what cannot be read."""
    sweeps = _chosen_sweeps(chosen)
    if isinstance(sweeps, int):
        return sweeps
    if chosen.output.exists() and not chosen.output.is_dir():
        print(f"unsir-report: {chosen.output} is a file; --output names a folder", file=sys.stderr)
        return 2
    _tell_unreadable(sum(len(sweep.unreadable) for sweep in sweeps), "they take no part", sys.stderr)
    return sweeps


def _tell_unreadable(count: int, words: str, stream: TextIO) -> None:
    if count:
        print(f"{count} record{'s' if count > 1 else ''} cannot be read; {words}", file=stream)


def _nothing(folder: Path, unreadable: int) -> int:
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
    return 2


if __name__ == "__main__":
    main()
