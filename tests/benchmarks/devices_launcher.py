"""The same sweep by the basic launcher and by `hydra/launcher=devices`, by turns, on an idle machine of several cores.

    python -m tests.benchmarks.devices_launcher --runs 8 --turns 3 --json FILE

Each sweep begins with an empty store and trains all that it needs. The basic launcher does one run at a time on the
first core alone: these are the undisturbed runs. Exit status 1 if a record differs, the wall time is above 0.6 of the
basic launcher's, or the method's seconds are off by more than 10 % (medians).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from tests.benchmarks.measured import print_table, write_figures
from tests.sweep_records import comparable, records
from unsir_bench.runtime.cores import own_cores

WALL_RATIO = 0.6
SECONDS_OFF = 0.1
SETTING = [
    "method=unsir", "forget=single", "dataset=digits", "model=allcnn_slim", "train=small", "metrics=fast",
    "tracker=none", "hardware=cpu", "hardware.threads=1", "sweep=launched",
]  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """One sweep: its launcher, wall seconds, and the seconds of the method in each of its runs."""

    launcher: str
    wall: float
    method_seconds: list[float]


def swept(folder: Path, launcher: str, runs: int, words: list[str]) -> Turn:
    """A sweep in a process of its own, started from nothing.

    Raises:
        subprocess.CalledProcessError: it failed; its output is in ``folder/log``.
    """
    folder.mkdir()
    cores = own_cores()[:1] if launcher == "basic" else own_cores()
    command = [
        sys.executable, "-m", "unsir_bench", "-m", *SETTING, f"seed={','.join(map(str, range(runs)))}",
        f"hydra/launcher={launcher}", f"outputs={folder}", f"store.root={folder}/store", *words,
    ]  # fmt: skip
    begun = time.perf_counter()
    with (folder / "log").open("wb") as log:
        subprocess.run(
            command,
            check=True,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    wall = time.perf_counter() - begun
    return Turn(launcher, wall, [each["metrics"]["unlearn_seconds"] for each in records(folder).values()])


def main() -> None:
    """Sweep by turns, compare, and print walls and seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("words", nargs="*", help="further words of the sweeps, such as train.epochs=1")
    given = parser.parse_args()
    if len(own_cores()) < 2:
        sys.exit(f"this process may use {len(own_cores())} core(s); two runs at once need two")
    done: dict[str, list[Turn]] = {"basic": [], "devices": []}
    same = True
    with tempfile.TemporaryDirectory(prefix="devices-launcher-") as place:
        for number in range(given.turns):
            folders = {launcher: Path(place) / f"{launcher} {number}" for launcher in done}
            for launcher, folder in folders.items():
                done[launcher].append(swept(folder, launcher, given.runs, given.words))
            found = [comparable(records(folder)) for folder in folders.values()]
            same &= found[0] == found[1] and len(found[0]) == given.runs
    walls = [two.wall / one.wall for one, two in zip(*done.values(), strict=True)]
    method = {name: [value for turn in turns for value in turn.method_seconds] for name, turns in done.items()}
    off = statistics.median(method["devices"]) / statistics.median(method["basic"]) - 1
    print_table(
        f"{given.runs} runs on {len(own_cores())} cores, {given.turns} turns",
        ["launcher", "wall s, median", "method s, median", "method s, range"],
        [
            [
                name, f"{statistics.median(turn.wall for turn in turns):.1f}", f"{statistics.median(method[name]):.3f}",
                f"{min(method[name]):.3f} to {max(method[name]):.3f}",
            ]
            for name, turns in done.items()
        ],
    )  # fmt: skip
    ratio = statistics.median(walls)
    print(f"wall ratio {ratio:.2f} ({', '.join(f'{each:.2f}' for each in walls)}), method seconds {off:+.1%}")
    print(f"records {'equal' if same else 'DIFFER'}")
    turns = {name: [asdict(turn) for turn in each] for name, each in done.items()}
    write_figures(given.json, torch.device("cpu"), turns=turns, wall_ratio=ratio, method_seconds_off=off, equal=same)
    sys.exit(not (same and ratio <= WALL_RATIO and abs(off) <= SECONDS_OFF))


if __name__ == "__main__":
    main()
