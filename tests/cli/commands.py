"""Many command lines in one new process, as a user would give each in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """
import contextlib, io, json, sys
from unsir_bench.cli.main import main
told = []
for words in json.load(sys.stdin):
    sys.argv, status = ["unsir-bench", *words], None
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            main()
        except SystemExit as end:
            status = end.code
            if isinstance(status, str):
                print(status)
                status = 1
    told.append([status or 0, out.getvalue()])
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Answer:
    """What one command line led to; ``records`` counts those that all of them left."""

    status: int
    printed: str
    records: int


def answers(cases: Sequence[tuple[str, ...]], folder: Path) -> dict[tuple[str, ...], Answer]:
    """Give each command line, with a new folder as working directory."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(cases), capture_output=True, text=True, timeout=300,
        cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = len(list(folder.rglob("record.json")))
    told = json.loads(done.stdout.splitlines()[-1])
    return {words: Answer(status, printed, records) for words, (status, printed) in zip(cases, told, strict=True)}
