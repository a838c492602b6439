"""Start the same sweep several times at once; each run, and each model, must be made once.

    python -m tests.benchmarks.overlapping_sweeps --sweeps 4

Exit status 1 if anything was made twice, or if a record differs from that of a sweep alone.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.benchmarks.killed_sweeps import FORK, forked_command, import_everything
from tests.benchmarks.measured import print_table
from tests.sweep_records import comparable, records


def start(folder: Path, number: int) -> None:
    """One sweep, in a process forked from this one."""
    sys.exit(forked_command(folder, folder / f"log {number}"))


def swept(folder: Path, sweeps: int) -> tuple[list[int | None], list[str]]:
    """Exit statuses and logs of sweeps that start at once."""
    folder.mkdir()
    processes: list[Any] = [FORK.Process(target=start, args=(folder, number)) for number in range(sweeps)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes], [log.read_text() for log in sorted(folder.glob("log *"))]


def main() -> None:
    """Sweep alone and at once, compare, and print what was made how often."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=4)
    given = parser.parse_args()
    import_everything()
    with tempfile.TemporaryDirectory(prefix="overlapping-sweeps-") as place:
        alone, together = Path(place) / "alone", Path(place) / "together"
        calm, _ = swept(alone, 1)
        statuses, logs = swept(together, given.sweeps)
        computed = Counter(re.findall(r"(?:done|failed|skipped|diverged): \S+/([^/\s]+)/record.json", "".join(logs)))
        trained = Counter(re.findall(r"training the (.*?\([0-9a-f]{16}\))", "".join(logs)))
        waits = sum(log.count("waiting for process") for log in logs)
        same = comparable(records(together)) == comparable(records(alone))
        wanted = set(records(alone))
    rows = [[name, str(count)] for name, count in sorted((computed + trained).items())]
    print_table(
        f"{given.sweeps} sweeps of {len(wanted)} runs at once, exit statuses {statuses}", ["made", "times"], rows
    )
    print(f"{waits} waits for another process; records {'as' if same else 'NOT as'} those of a sweep alone")
    once = set(computed) == wanted and set((computed + trained).values()) == {1}
    sys.exit(not (once and same and not any(calm) and not any(statuses)))


if __name__ == "__main__":
    main()
