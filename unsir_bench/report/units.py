"""The units of a record's numbers, by their names (docs/records.md, docs/metrics.md)."""

from __future__ import annotations

import re

import pandas as pd

# The first that fits counts; of gaps the unit is that of the metric. Names without a unit are plain numbers: "1".
UNITS = (
    (r"speedup_|_passes$|anamnesis_index|information_difference_index|weight_distance.*_relative", "1"),
    (r"seconds$", "s"),
    (r"bytes$", "bytes"),
    (r"relearn_batches$", "batches"),
    (r"relearn_epochs$", "epochs"),
    (r"_steps$", "optimiser steps"),
    (r"_samples(_touched)?$", "samples"),
    (r"js_to_retrain|layer_information_sum", "bits"),
    (r"acc_|gap_(forget|retain)_test|share$|accuracy$|tow$|nomus$|any_forget_class$|fpr$", "fraction"),
)


def units(frame: pd.DataFrame) -> dict[str, str]:
    """The unit of each column of numbers of ``run_table``, but for the seed; ``1``: a ratio or a pure number."""
    numbers = [str(name) for name in frame.select_dtypes(["number"]) if name != "seed"]
    return {name: next((unit for pattern, unit in UNITS if re.search(pattern, name)), "1") for name in numbers}
