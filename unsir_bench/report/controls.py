"""Which models of a report are controls: they keep what they seem to forget, and accuracies alone rank them high."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from unsir_bench.report.method_style import CONTROLS

FISHER = "fisher"
PROBE, INFORMATION = "probe_linear_auc", "layer_information_sum"
# Of a probe's AUC: up to which difference features are the original's, and from which on the original knew more than
# a retrained model, so that there was something to forget.
SAME, KNEW_MORE = 0.001, 0.01
# Of the information in all layers, relative to the original's: up to which difference the features are the original's.
# The probe reads the last features alone, which may be as good where earlier layers changed. On two digits runs at
# alpha 1e-8 moved it by up to 0.5 %, at 5e-7 by up to 2.1 %, and the class was back as soon after either. On CIFAR-10
# a run that moved ResNet18's last block lost 16 % at an unchanged AUC.
SAME_INFORMATION = 0.05
FORGETS_NOTHING, KEEPS_FEATURES = "forgets nothing", "features keep the class"
HEAD_ALONE = "has so little noise that the head alone changes (probe AUC {:.4f}, the original's {:.4f})"
AS_IN_THE_ORIGINAL = (
    "has features in which a linear probe finds the class as in the original (AUC {:.4f}, the original's {:.4f})"
)


def control_words(method: str, metrics: Mapping[Any, Any]) -> str:
    """Why a run is a control, as what follows "it"; empty where it is none, or where nothing tells.

    Fisher forgetting is one where a linear probe finds the forgotten classes in its features as in the original's, and
    where layers hold as much of them, if that was measured: then its noise overwrites the head and no more.

    Args:
        method: its name.
        metrics: of the run, by field.
    """
    if method in CONTROLS:
        return CONTROLS[method]
    own, original, retrained = (_number(metrics.get(prefix + PROBE)) for prefix in ("", "original_", "retrain_"))
    # NaN compares as False.
    if method != FISHER or not (abs(own - original) <= SAME and original - retrained >= KNEW_MORE):
        return ""
    bits, before = (_number(metrics.get(prefix + INFORMATION)) for prefix in ("", "original_"))
    if math.isnan(bits) or math.isnan(before):
        return AS_IN_THE_ORIGINAL.format(own, original)
    return HEAD_ALONE.format(own, original) if abs(bits - before) <= SAME_INFORMATION * abs(before) else ""


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def control_words_of(models: pd.DataFrame) -> str:
    """The words of the first of the rows of one method and setting where all are controls; else empty.

    Args:
        models: rows with the column ``method``, and the metrics of each run as columns.
    """
    fields = [prefix + name for prefix in ("", "original_", "retrain_") for name in (PROBE, INFORMATION)]
    read = [name for name in ("method", *fields) if name in models]
    # A frame has hundreds of columns, and a report asks this for each method and setting.
    words = [control_words(str(row["method"]), row) for row in models[read].to_dict("records")]
    return words[0] if words and all(words) else ""


def control_mark_of(models: pd.DataFrame) -> str:
    """The same in three or four words, for a cell or a figure's title."""
    if not control_words_of(models):
        return ""
    return FORGETS_NOTHING if str(models["method"].iloc[0]) in CONTROLS else KEEPS_FEATURES
