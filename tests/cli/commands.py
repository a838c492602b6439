"""Many command lines in one new process, as a user would give each in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """
import contextlib, io, json, sys
from unsir_bench.sweeps import isolation
from unsir_bench.cli.main import main
from unsir_bench.report.command import main as report
told = []
if sys.argv[1] == "none":
    isolation.warm_up = lambda modules: None
for words in json.load(sys.stdin):
    of_report = words[0] == "unsir-report"
    sys.argv, status = words if of_report else ["unsir-bench", *words], None
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            report(words[1:]) if of_report else main()
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


def answers(
    cases: Sequence[tuple[str, ...]],
    folder: Path,
    surroundings: Mapping[str, str] | None = None,
    *,
    starts_runs: bool = True,
) -> dict[tuple[str, ...], Answer]:
    """Give each command line, with a new folder as working directory; the name `unsir-report` stands, the other not.

    Where none starts a run, no server is started that imports what runs need.
    """
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "all" if starts_runs else "none"],
        input=json.dumps(cases), capture_output=True, text=True, timeout=900,
        cwd=folder, check=False, env=surroundings,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = len(list(folder.rglob("record.json")))
    told = json.loads(done.stdout.splitlines()[-1])
    return {words: Answer(status, printed, records) for words, (status, printed) in zip(cases, told, strict=True)}
