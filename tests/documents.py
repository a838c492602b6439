"""The documents of the project, the code in their Markdown, and the commands that they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/results/*.md"),
                    *ROOT.glob("docs/how_to/*.md")])  # fmt: skip
PROGRAMS = ("unsir-bench", "unsir-report", "make", "python -m")
# Words in capitals that stand for a value of the reader's.
PLACEHOLDERS = {"FOLDER": "tests", "FILE": "report.html", "DIR": "out", "N": "2"}
ELLIPSES = {"experiment=...": "experiment=cifar10_single", "scale=...": "scale=smoke"}


@dataclass(frozen=True)
class Command:
    """A command as a document shows it: a line, or the words of inline code."""

    document: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: {self.text}"


def fenced(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line within fences; a line that goes on after a backslash is one line."""
    inside, waiting = False, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif inside and line.endswith("\\"):
            waiting += f"{line[:-1].strip()} "
        elif inside:
            yield number, waiting + line.strip()
            waiting = ""


def without_fences(text: str) -> str:
    """The prose: lines within fences become empty, so that numbers of lines stay."""
    return re.sub(r"^[ ]*```.*?^[ ]*```[^\n]*", lambda block: "\n" * block[0].count("\n"), text, flags=re.M | re.S)


def inline(text: str) -> Iterator[tuple[int, str]]:
    """Number of the line and text of each inline code; it may go on in the next line."""
    prose = without_fences(text)
    for found in re.finditer(r"(?<!`)`([^`]+)`(?!`)", prose):
        yield prose.count("\n", 0, found.start()) + 1, " ".join(found[1].split())


def commands_in(name: str, text: str) -> list[Command]:
    return [
        Command(name, line, command)
        for line, code in [*fenced(text), *inline(text)]
        if (command := code.removeprefix(".venv/bin/")).startswith(PROGRAMS)
        and re.match(rf"({'|'.join(PROGRAMS)})( |$)", command)
    ]


def words_of(text: str) -> list[str]:
    """The words of a command without its comment, placeholders filled."""
    words = [ELLIPSES.get(word, word) for word in shlex.split(text, comments=True)]
    return [
        re.sub(r"(?<![^=/\[,])[A-Z]+(?![^/\],])", lambda it: PLACEHOLDERS.get(it[0], it[0]), word) for word in words
    ]
