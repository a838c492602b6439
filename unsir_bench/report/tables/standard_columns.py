"""Which columns a comparison table has: the benchmark's own, the field's standard ones, or any metric of the records.

Papers on unlearning mostly print UA, RA, TA, MIA, their average gap to retraining, and RTE (Jia et al. 2023, "Model
Sparsity Can Simplify Machine Unlearning"; Fan et al. 2024, SalUn). UA is 1 minus the accuracy on the forget training
samples, RA the accuracy on the retain training samples, TA that on the retain test samples, MIA the share of forget
training samples that the confidence attack calls non-members, RTE the method's time in minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd


class Column(NamedTuple):
    """A measured column: its field, its title, the factor to the unit shown, and which value is best ("": none)."""

    field: str
    title: str
    scale: float
    best: str


COLUMNS = (
    Column("acc_retain_test", "A_Dr %", 100.0, "retrain"),
    Column("acc_forget_test", "A_Df %", 100.0, "retrain"),
    Column("relearn_batches", "relearn batches", 1.0, "retrain"),
    Column("unlearn_seconds", "seconds", 1.0, "least"),
    Column("speedup_vs_retrain", "× retrain", 1.0, "most"),
    Column("speedup_vs_fast_retrain", "× fast retrain", 1.0, "most"),
    Column("speedup_vs_fisher", "× Fisher", 1.0, "most"),
)
STANDARD = {
    "UA": Column("unlearning_accuracy", "UA %", 100.0, "retrain"),
    "RA": Column("acc_retain_train", "RA %", 100.0, "retrain"),
    "TA": Column("acc_retain_test", "TA %", 100.0, "retrain"),
    "MIA": Column("mia_svc_nonmember_share", "MIA %", 100.0, "retrain"),
    "average_gap": Column("average_gap", "average gap", 100.0, "least"),
    "RTE": Column("unlearn_minutes", "RTE, min", 1.0, "least"),
}
# 1 minus another field, and so a share of the same samples.
COMPLEMENTS = {"unlearning_accuracy": "acc_forget_train", "mia_svc_nonmember_share": "mia_svc_member_share"}
AVERAGED = ("unlearning_accuracy", "acc_retain_train", "acc_retain_test", "mia_svc_nonmember_share")
OF_TIME = ("unlearn_seconds", "unlearn_minutes", *(column.field for column in COLUMNS if "speedup" in column.field))
STANDARD_LEGEND = (
    "UA: 1 - accuracy on forget training samples; RA, TA: accuracy on retain training and test samples; MIA: forget "
    "training samples that the confidence attack (SVC) calls non-members; average gap: mean absolute difference of "
    "these four to the retrained model's, in points; RTE: minutes."
)


def chosen_columns(words: Sequence[str], recorded: Iterable[str] = ()) -> tuple[Column, ...]:
    """The columns that words name: ``standard`` (all six of the field), one of these, or a field of the records.

    Args:
        words: in the order of the columns.
        recorded: names of the records' metrics. Those without a card, such as costs, are shown in the record's unit.

    Raises:
        ValueError: a word names none; says which there are.
    """
    from unsir_bench.config_fields import nearest

    known = {name: Column(name, name, 1.0, "") for name in recorded} | _known()
    names = [name for word in words for name in (STANDARD if word == "standard" else [word])]
    for name in names:
        if name not in known:
            raise ValueError(
                f"--columns {name}: no such column; near it are {nearest(name, list(known))}. 'standard' stands for "
                f"{', '.join(STANDARD)}; any metric of docs/metrics.md or number of the records may be named too"
            )
    return tuple(dict.fromkeys(known[name] for name in names))


def _known() -> dict[str, Column]:
    from unsir_bench.evaluation.registry import RETRAIN, cards

    of_cards = {
        card.field: Column(card.field, card.title, card.scale, "retrain" if card.ideal == RETRAIN else "")
        for card in cards()
    }
    return of_cards | {column.field: column for column in COLUMNS} | STANDARD


def with_standard_columns(models: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``model_table`` with the fields of ``STANDARD`` that follow from others; NaN where one is not known."""
    numbers = {name: pd.to_numeric(models[name], errors="coerce") for name in models if name in _NEEDED}
    blank = pd.Series(float("nan"), index=models.index)
    own = {name: 1 - numbers.get(field, blank) for name, field in COMPLEMENTS.items()}
    own |= {name: numbers.get(name, blank) for name in AVERAGED if name not in COMPLEMENTS}
    gaps = [(own[name] - _of_retrain(models, name)).abs() for name in AVERAGED]
    return models.assign(
        **{name: own[name] for name in COMPLEMENTS},
        average_gap=pd.concat(gaps, axis=1).mean(axis=1, skipna=False),
        unlearn_minutes=numbers.get("unlearn_seconds", blank) / 60,
    )


_NEEDED = (*COMPLEMENTS.values(), *AVERAGED, "unlearn_seconds")


def _of_retrain(models: pd.DataFrame, name: str) -> pd.Series:
    """The retrained model's value of each row's run."""
    field = f"retrain_{COMPLEMENTS.get(name, name)}"
    values = pd.to_numeric(models["record"].map(lambda record: record.metrics.get(field)), errors="coerce")
    return 1 - values if name in COMPLEMENTS else values
