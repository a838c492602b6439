"""The course of runs that serve several forgetting requests: what was left after each one, and what it took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.data import GROUP, run_table
from unsir_bench.report.forget_words import is_drawn
from unsir_bench.report.margins import read_margins
from unsir_bench.report.samples import DRAWN, recorded_samples

MARGIN = read_margins()["acc_retain_test"].margin  # of A_Dr below retrain's, as in verdicts
FIELDS = {
    "acc_retain_test": "acc_retain_test",
    "retrain_acc_retain_test": "retrain_acc_retain_test",
    "acc_forget_train": "acc_forget_train",
    "mia_loss_accuracy": "mia_loss_accuracy",
    "retrain_mia_loss_accuracy": "retrain_mia_loss_accuracy",
    "seconds_so_far": "unlearn_seconds",
    "retrain_seconds": "retrain_seconds",
}


def request_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row for each request of each finished run that served several.

    Returns:
        The columns of ``GROUP``, ``seed``, ``run`` (its id), ``record``, ``request`` (from 1), ``words``, ``samples``
        (training samples forgotten so far; NaN in records that do not say it), what ``samples_of`` reads, ``seconds``
        (of this request), and ``FIELDS``, of which ``retrain_seconds`` are those of retraining once without all that is
        gone by then.
    """
    several = [record for record in records if record.status == "done" and record.details.get("steps")]
    if not several:
        columns = [*GROUP, "seed", "run", "record", "request", "words", "samples", "seconds", *FIELDS]
        return pd.DataFrame(columns=columns)
    table = run_table(several)
    rows = [
        {
            **dict(zip(GROUP, place, strict=True)), **recorded_samples(record), DRAWN: is_drawn(record),
            "seed": record.seed, "run": record.run_id, "record": record, **point,
        }
        for record, place in zip(several, table[GROUP].itertuples(index=False, name=None), strict=True)
        for point in _course(record)
    ]  # fmt: skip
    found = pd.DataFrame(rows)
    numbers = ["samples", "seconds", *FIELDS]
    found[numbers] = found[numbers].apply(pd.to_numeric)
    return found


def _course(record: RunRecord) -> Iterator[dict[str, Any]]:
    samples, before = 0, 0.0
    for place, step in enumerate(record.details["steps"], start=1):
        metrics, known = step["metrics"], "samples" in step
        samples += step.get("samples", 0)
        so_far = metrics.get("unlearn_seconds")
        yield {
            "request": place,
            "words": str(step.get("request") or f"classes {', '.join(map(str, step['classes']))}"),
            "samples": samples if known else None,
            "forget_train_samples": samples if known else None,  # those recorded are of the last request
            "seconds": None if so_far is None else so_far - before,
            **{name: metrics.get(field) for name, field in FIELDS.items()},
        }
        before = so_far or before


def deletion_capacity(course: pd.DataFrame) -> tuple[int, int, int] | None:
    """How many requests a run served before it lost accuracy that retraining keeps.

    After Sekhari et al. 2021, "Remember What You Want to Forget", whose deletion capacity is the number of samples that
    can be deleted while the test loss stays within a bound of retraining's. Here: while A_Dr stays within ``MARGIN`` of
    the A_Dr of the model retrained without all that is gone by then.

    Args:
        course: rows of ``request_table`` of one run, in the order of the requests.

    Returns:
        Requests within the bound before the first one beyond it, training samples forgotten by then (0 where records do
        not say it), and requests in all; None where a retrained model is missing.
    """
    gaps = course["acc_retain_test"] - course["retrain_acc_retain_test"]
    if gaps.isna().any():
        return None
    # 0.80 - 0.78 exceeds 0.02 in the last digit: a gap that near to the margin is on it.
    within = (gaps >= -MARGIN - 1e-9).tolist()
    served = within.index(False) if False in within else len(within)
    samples = course["samples"].fillna(0).iloc[served - 1] if served else 0
    return served, int(samples), len(within)
