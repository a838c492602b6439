"""A page of docs/ as a reader uses it: its files written to a folder, its commands given there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "UNSIR_BENCH_PLUGINS"
# The same runs in a moment.
TINY = {"seed": "0", "dataset.subset": "15", "train.epochs": "2", "metrics": "fast", "tracker": "none"}


class Page:
    """A document.

    Attributes:
        text: of the document.
        files: text by name of each file that it shows: a line with the name in code, then a block of code.
        commands: the words of each line of the blocks that say no language.
    """

    def __init__(self, path: str):
        self.text = (ROOT / path).read_text(encoding="utf-8")
        shown = re.findall(r"^`([\w./]+)`[^\n]*\n\n```\w+\n(.*?)^```", self.text, flags=re.M | re.S)
        self.files = dict(shown)
        assert len(shown) == len(self.files)
        blocks = re.findall(r"^```(\w*)\n(.*?)^```", self.text, flags=re.M | re.S)
        lines = [line for language, block in blocks if not language for line in block.splitlines()]
        self.commands = [words for line in lines if (words := shlex.split(line, comments=True))]

    def command(self, *start: str) -> list[str]:
        """The only command that begins with these words."""
        [words] = [words for words in self.commands if tuple(words[: len(start)]) == start]
        return words

    @property
    def exported(self) -> dict[str, str]:
        """The variables that the reader sets."""
        return dict(word.split("=") for word in self.command("export")[1:])

    def write(self, folder: Path) -> None:
        """Write the files, and what the page asks for in words: an empty ``__init__.py`` in each ``conf``."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if "conf" in Path(name).parts:
                (folder / Path(name).parts[0] / "conf" / "__init__.py").touch()


def shrunk(words: Sequence[str], **more: str) -> list[str]:
    """The same runs, tiny; ``more`` are further settings, with ``__`` for a dot."""
    settings = TINY | {key.replace("__", "."): value for key, value in more.items()}
    return [*(word for word in words if word.split("=")[0] not in settings), *(f"{k}={v}" for k, v in settings.items())]


def environment(**changes: str) -> dict[str, str]:
    """This process's, with no plug-in named, changed."""
    own = {name: value for name, value in os.environ.items() if name not in (VARIABLE, "PYTHONPATH")}
    return {**own, "OMP_NUM_THREADS": "1", **changes}


def done(words: Sequence[str], folder: Path, surroundings: dict[str, str], status: int = 0) -> str:
    """Run a program in a folder, and return what it printed."""
    program = {"unsir-bench": [sys.executable, "-m", "unsir_bench"], "python": [sys.executable]}
    finished = subprocess.run(
        [*program.get(words[0], [words[0]]), *words[1:]], cwd=folder, env=surroundings, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert finished.returncode == status, finished.stdout[-3000:] + finished.stderr[-3000:]
    return finished.stdout + finished.stderr
