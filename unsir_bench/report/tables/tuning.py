"""Which of the settings tried for each method scored best on held-out training images: `make tuning`.

The score is (1 - |A_Df - A_Df of retrain|) · (1 - |A_Dr - A_Dr of retrain|), on the held-out images, averaged over
forget sets and seeds: 1 for a method that cannot be told from retraining by accuracy.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from unsir_bench.records import records_below
from unsir_bench.report.conditions import NOTHING
from unsir_bench.report.data import run_table
from unsir_bench.report.tables.text import markdown, print_rows
from unsir_bench.runtime.files import write_atomic


def tuning_rows(runs: pd.DataFrame) -> list[dict[str, str]]:
    """One row of words per method and setting, the best of each method marked, or all that tie; none where all score 0.

    Runs that failed or diverged score 0.

    Args:
        runs: ``run_table`` of the records of a tuning sweep.
    """
    gap_names = ["gap_forget_test", "gap_retain_test"]
    if not set(gap_names) <= set(runs):
        return []
    gaps = runs[gap_names].abs()
    score = ((1 - gaps["gap_forget_test"]) * (1 - gaps["gap_retain_test"])).where(runs["status"] == "done", 0.0)
    columns = ["acc_forget_test", "acc_retain_test", "score"]
    scored = runs.assign(score=score)[score.notna()]  # the others have no retrained model to be compared with
    settings = scored.groupby(["method", "setting"], sort=True)
    means = settings[columns].mean().assign(n=settings.size()).reset_index()
    best = (means["score"] >= means.groupby("method")["score"].transform("max") - 1e-9) & (means["score"] > 0)
    return [
        {
            "method": str(row["method"]),
            "setting": str(row["setting"]),
            "A_Df %": _percent(row["acc_forget_test"]),
            "A_Dr %": _percent(row["acc_retain_test"]),
            "score": NOTHING if pd.isna(row["score"]) else f"{row['score']:.4f}",
            "n": str(row["n"]),
            "best": "best" if best[index] else "",
        }
        for index, row in enumerate(means.to_dict("records"))
    ]


def _percent(fraction: float) -> str:
    return NOTHING if pd.isna(fraction) else f"{100 * fraction:.2f}"


def main() -> None:
    """Print the tuning table of a sweep's folder and write it there as ``tuning.md``."""
    folder = Path(sys.argv[1])
    runs = run_table([record for _, record in records_below(folder)])
    rows = tuning_rows(runs)
    print_rows(rows, f"{folder.name}: held-out training images, mean over forget sets and seeds")
    write_atomic(folder / "tuning.md", markdown(rows))


if __name__ == "__main__":
    main()
