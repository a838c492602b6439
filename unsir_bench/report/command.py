"""The command `unsir-report`: what is made from records alone, without a model, an account or a network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from unsir_bench.records import records_below
from unsir_bench.report.claims import write_claims
from unsir_bench.report.html_page import Sweep, read_sweep, sweep_folders, write_page
from unsir_bench.report.metric_table import metric_tables
from unsir_bench.report.paper_tables import write_tables

OUTPUTS = Path("multirun_outputs")
MEGABYTE = 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with status 2 where there is nothing to report."""
    chosen = _parser().parse_args(arguments)
    sys.exit(chosen.run(chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unsir-report", description="Reports from the records of sweeps.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    html = commands.add_parser(
        "html",
        help="one page with tables and plots, which opens from disk",
        description="Write one HTML page with sortable tables and interactive plots of sweeps. It needs no network.",
    )
    html.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        default=[OUTPUTS],
        help="a sweep's folder, or one with sweeps below it (default: every sweep below multirun_outputs)",
    )
    html.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        default=OUTPUTS / "report" / "report.html",
        help="the page (default: %(default)s)",
    )
    html.set_defaults(run=_html)
    metrics = commands.add_parser(
        "metrics",
        help="every metric of a sweep as Markdown, on the terminal",
        description="Print every metric of a sweep beside those of its references, as Markdown.",
    )
    metrics.add_argument("folder", type=Path, metavar="FOLDER", help="a sweep's folder")
    metrics.set_defaults(run=_metrics)
    claims = commands.add_parser(
        "claims",
        help="the paper's claims: which hold, which fail, which these runs cannot tell",
        description="Check the paper's claims on the records of sweeps; write claims.json and claims.md.",
    )
    claims.set_defaults(run=_claims)
    tables = commands.add_parser(
        "tables",
        help="comparison tables as Markdown, LaTeX and CSV, and all runs as CSV",
        description="Write one comparison table per sweep, data set and model, and one file of all runs.",
    )
    tables.set_defaults(run=_tables)
    for command in (claims, tables):
        command.add_argument(
            "folders",
            nargs="*",
            type=Path,
            metavar="FOLDER",
            default=[OUTPUTS],
            help="a sweep's folder, or one with sweeps below it (default: every sweep below multirun_outputs)",
        )
        command.add_argument(
            "--output",
            type=Path,
            metavar="DIR",
            default=OUTPUTS / "report",
            help="the folder to write to (default: %(default)s)",
        )
    figures = commands.add_parser(
        "figures",
        help="figures for a paper as PDF and PNG, each with its numbers as CSV",
        description="Draw every figure that the records of sweeps hold data for; name those that they do not.",
    )
    figures.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        default=[OUTPUTS],
        help="a sweep's folder, or one with sweeps below it (default: every sweep below multirun_outputs)",
    )
    figures.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=OUTPUTS / "report" / "figures",
        help="the folder to write to (default: %(default)s)",
    )
    figures.set_defaults(run=_figures)
    return parser


def _metrics(chosen: argparse.Namespace) -> int:
    records = [record for _, record in records_below(chosen.folder)]
    if not records:
        return _nothing(chosen.folder, 0)
    print(metric_tables(records), end="")
    return 0


def _html(chosen: argparse.Namespace) -> int:
    sweeps: list[Sweep] = []
    for folder in chosen.folders:
        below = [read_sweep(sweep) for sweep in sweep_folders(folder)]
        if not any(sweep.found for sweep in below):
            return _nothing(folder, sum(len(sweep.unreadable) for sweep in below))
        sweeps += [sweep for sweep in below if sweep.folder.resolve() not in {one.folder.resolve() for one in sweeps}]
    if chosen.output.is_dir():
        print(f"unsir-report: {chosen.output} is a folder; --output names a file", file=sys.stderr)
        return 2
    page = write_page(sweeps, chosen.output)
    count = len(page.unreadable)
    if count:
        print(f"{count} record{'s' if count > 1 else ''} cannot be read; the page names them")
    size = page.path.stat().st_size / MEGABYTE
    print(f"written: {page.path} ({page.runs} runs in {len(sweeps)} sweeps, {size:.1f} MB)")
    return 0


def _claims(chosen: argparse.Namespace) -> int:
    sweeps = _chosen_sweeps(chosen)
    if isinstance(sweeps, int):
        return sweeps
    records = [record for sweep in sweeps for record in sweep.records]
    written = write_claims(records, [path for sweep in sweeps for path, _ in sweep.unreadable], chosen.output)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in written.verdicts.items())
    print(f"written: {', '.join(map(str, written.paths))} ({counts})")
    return 0


def _tables(chosen: argparse.Namespace) -> int:
    sweeps = _chosen_sweeps(chosen)
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
    sweeps = _chosen_sweeps(chosen)
    if isinstance(sweeps, int):
        return sweeps
    # Drawing for print is slow to import, and the other commands do without it.
    from unsir_bench.report.figures import write_figures

    for line in write_figures(sweeps, chosen.output):
        print(line)
    return 0


def _chosen_sweeps(chosen: argparse.Namespace) -> list[Sweep] | int:
    """The sweeps in the chosen folders, each once, or the exit status where that cannot be."""
    sweeps: dict[Path, Sweep] = {}
    for folder in chosen.folders:
        below = [read_sweep(sweep) for sweep in sweep_folders(folder)]
        if not any(sweep.found for sweep in below):
            return _nothing(folder, sum(len(sweep.unreadable) for sweep in below))
        sweeps |= {sweep.folder.resolve(): sweep for sweep in below}
    if chosen.output.exists() and not chosen.output.is_dir():
        print(f"unsir-report: {chosen.output} is a file; --output names a folder", file=sys.stderr)
        return 2
    count = sum(len(sweep.unreadable) for sweep in sweeps.values())
    if count:
        print(f"{count} record{'s' if count > 1 else ''} cannot be read and take no part", file=sys.stderr)
    return list(sweeps.values())


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
