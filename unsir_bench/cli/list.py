"""`unsir-bench list methods|datasets|models|metrics|experiments|forget`: the options, those of plug-ins included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.markup import escape

from unsir_bench.cli.plugins import option_files

GROUPS = {
    "methods": "method",
    "datasets": "dataset",
    "models": "model",
    "metrics": "metrics",
    "experiments": "experiment",
    "forget": "forget",
}
WIDTH_OF_A_FILE = 120  # characters


def list_command(words: Sequence[str]) -> int:
    """Print one table; returns the exit status: 2 if there is no such table."""
    if {"-h", "--help"} & set(words):
        print(f"usage: unsir-bench list {'|'.join(GROUPS)}\n\nPrint the options, those of plug-ins included.")
        return 0
    if len(words) != 1 or words[0] not in GROUPS:
        print(f"unsir-bench list {' '.join(words)}: there is no such table; give one of {', '.join(GROUPS)}")
        return 2
    from rich.console import Console
    from rich.table import Table

    group = GROUPS[words[0]]
    rows = list(_method_rows() if group == "method" else _rows(group))
    table = Table(title=f"{words[0]}: choose one by {group}=OPTION", title_justify="left", show_lines=True)
    for name in rows[0]:
        table.add_column(name, no_wrap=name == group)
    for row in rows:
        table.add_row(*map(escape, row.values()))
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH_OF_A_FILE)).print(table)
    return 0


def _rows(group: str) -> Iterator[dict[str, str]]:
    for option, file in option_files(group).items():
        yield {group: option, "what it is": first_comment(file)}


def _method_rows() -> Iterator[dict[str, str]]:
    """Methods with what they read of the data, as composed: an option's settings may change it."""
    from unsir_bench.cli.bootstrap import compose
    from unsir_bench.unlearning.method import access_names

    for option, file in option_files("method").items():
        method = compose([f"method={option}"]).method
        yield {
            "method": option,
            "needs": ", ".join(access_names(method)) or "nothing",
            "values": method.settings,
            "paper, and where its values come from": first_comment(file),
        }


def first_comment(file: Path) -> str:
    """The comment that a YAML file begins with, as one line; Hydra's own directives left out."""
    words: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @"):
            words.append(line.removeprefix("#").strip())
    return " ".join(words)
