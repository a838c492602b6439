"""Who is called a control: two methods by name, and Fisher forgetting where its features are the original's."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from tests.documents import ROOT
from unsir_bench.report.controls import FISHER, control_mark_of, control_words, control_words_of
from unsir_bench.report.method_style import CONTROLS
from unsir_bench.report.tables.verdicts import verdict_rows


def probes(own: float, original: float = 0.9668, retrained: float = 0.9325) -> dict[str, Any]:
    names = ("probe_linear_auc", "original_probe_linear_auc", "retrain_probe_linear_auc")
    return dict(zip(names, (own, original, retrained), strict=True))


def bits(own: float | None, original: float | None = 2.0) -> dict[str, Any]:
    """Information in the layers beside a probe that sees no change."""
    return {**probes(0.9669), "layer_information_sum": own, "original_layer_information_sum": original}


@pytest.mark.parametrize(
    ("method", "metrics", "control"),
    [
        ("logit_mask", {}, True),
        ("head_distillation", {}, True),
        ("fisher", probes(0.9669), True),  # the committed runs at alpha = 1e-8
        ("fisher", probes(0.9405), False),
        ("fisher", probes(0.9669, retrained=0.9668), False),  # there was nothing to forget
        ("fisher", probes(math.nan), False),
        ("fisher", {**probes(0.9669), "original_probe_linear_auc": None}, False),
        ("fisher", {}, False),
        ("amnesiac", probes(0.9669), False),
        ("fisher", bits(1.91), True),  # nearly 5 % of 2 bits less, and more
        ("fisher", bits(2.09), True),
        ("fisher", bits(1.89), False),
        ("fisher", bits(2.11), False),
        ("fisher", bits(1.7686, 2.1044), False),  # the committed run on CIFAR-10: A_Df fell from 79 to 20 %
        ("fisher", {**bits(2.0), **probes(0.9405)}, False),
        ("fisher", bits(None), True),
        ("fisher", bits(1.0, None), True),
    ],
)
def test_a_run_is_a_control_where_its_features_forgot_nothing(method: str, metrics: Any, control: bool) -> None:
    assert bool(control_words(method, metrics)) is control


def test_the_words_say_no_more_than_was_measured() -> None:
    assert control_words("fisher", bits(2.0)).startswith("has so little noise that the head alone changes (probe AUC")
    seen = "has features in which a linear probe finds the class as in the original (AUC 0.9669, the original's 0.9668)"
    assert control_words("fisher", probes(0.9669)) == control_words("fisher", bits(None)) == seen


def test_the_mark_of_fisher_is_of_its_features_and_that_of_a_mask_says_that_it_forgets_nothing() -> None:
    marks = [control_mark_of(pd.DataFrame([{"method": name, **bits(2.0)}])) for name in ("logit_mask", "fisher", "ssd")]
    assert marks == ["forgets nothing", "features keep the class", ""]


def test_a_group_is_a_control_where_all_its_seeds_are() -> None:
    rows = pd.DataFrame([{"method": "fisher", **probes(own)} for own in (0.9669, 0.9665)])
    assert "0.9669" in control_words_of(rows)
    assert control_words_of(pd.concat([rows, pd.DataFrame([{"method": "fisher", **probes(0.94)}])])) == ""
    assert control_words_of(rows.iloc[:0]) == ""


def test_the_verdict_table_names_head_only_fisher() -> None:
    shared = {
        "dataset": "d", "model": "m", "forget": "f", "setting": "", "status": "done", "seed": 0, "gap_zrf": 0.0,
    }  # fmt: skip
    rows = verdict_rows(pd.DataFrame([{**shared, "method": name, **probes(0.9669)} for name in ("fisher", "unsir")]))
    assert {row["method"]: "control" in row["beware"] for row in rows} == {"fisher": True, "unsir": False}


def test_the_page_for_submissions_names_every_control() -> None:
    rule = (ROOT / "docs" / "submit.md").read_text(encoding="utf-8").partition("## Submit")[0]
    assert [name for name in (*CONTROLS, FISHER) if f"`{name}`" not in rule] == []
