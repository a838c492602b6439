"""Which models of a report are controls: they forget nothing, and accuracies alone would rank them among the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from unsir_bench.report.method_style import CONTROLS

FISHER = "fisher"
PROBE = "probe_linear_auc"
# Of a probe's AUC: up to which difference features are the original's, and from which on the original knew more than
# a retrained model, so that there was something to forget.
SAME, KNEW_MORE = 0.001, 0.01


def control_words(method: str, metrics: Mapping[Any, Any]) -> str:
    """Why a run is a control, as what follows "it"; empty where it is none, or where nothing tells.

    Fisher forgetting is one where its noise is so small that it overwrites the head and no more: a linear probe finds
    the forgotten classes in its features as in the original's.

    Args:
        method: its name.
        metrics: of the run, by field.
    """
    if method in CONTROLS:
        return CONTROLS[method]
    own, original, retrained = (_number(metrics.get(prefix + PROBE)) for prefix in ("", "original_", "retrain_"))
    # NaN compares as False.
    head_alone = method == FISHER and abs(own - original) <= SAME and original - retrained >= KNEW_MORE
    words = "has so little noise that the head alone changes (probe AUC {:.4f}, the original's {:.4f})"
    return words.format(own, original) if head_alone else ""


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def control_words_of(models: pd.DataFrame) -> str:
    """The words of the first of the rows of one method and setting where all are controls; else empty.

    Args:
        models: rows with the column ``method``, and the metrics of each run as columns.
    """
    read = [name for name in ("method", PROBE, f"original_{PROBE}", f"retrain_{PROBE}") if name in models]
    # A frame has hundreds of columns, and a report asks this for each method and setting.
    words = [control_words(str(row["method"]), row) for row in models[read].to_dict("records")]
    return words[0] if words and all(words) else ""
