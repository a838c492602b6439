"""Guarantees of a method: checked when they are stated, kept in the record, and read with care."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.digits_record import record
from unsir_bench.guarantees import GUARANTEES
from unsir_bench.records import RunRecord, digest
from unsir_bench.training.context import RunContext


def test_what_a_method_states_is_kept_and_later_statements_replace_earlier_ones(
    make_context: Callable[..., RunContext],
) -> None:
    context = make_context()
    context.guarantee(epsilon=1.0, delta=1e-5)
    context.guarantee(epsilon=None, removable_samples=3)
    assert context.guarantees == {"epsilon": None, "delta": 1e-5, "removable_samples": 3}
    assert context.of_another_seed(1).guarantees == {}


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"epsilom": 1.0}, "guarantee epsilom: no such guarantee; near it are epsilon"),
        ({"epsilon": math.inf}, "guarantee epsilon=inf: must be a finite number, or None"),
        ({"epsilon": math.nan}, "guarantee epsilon=nan"),
        ({"epsilon": -1.0}, r"guarantee epsilon=-1.0 is not in \[0, inf\]"),
        ({"delta": 1.5}, r"guarantee delta=1.5 is not in \[0, 1\]"),
    ],
)
def test_what_is_no_guarantee_is_refused_by_name(
    make_context: Callable[..., RunContext], stated: dict[str, float], words: str
) -> None:
    context = make_context()
    with pytest.raises(ValueError, match=words):
        context.guarantee(**stated)
    assert context.guarantees == {}


def test_a_record_keeps_guarantees_and_a_value_that_is_no_number_costs_nothing_else(tmp_path: Path) -> None:
    written = record(guarantees={"epsilon": 1.0, "removable_samples": 3, "delta": None, "residual_norm": math.inf})
    read = RunRecord.read(written.write(tmp_path))
    assert read.guarantees == {"epsilon": 1.0, "removable_samples": 3, "delta": None, "residual_norm": None}
    assert read.metric_notes == {"residual_norm": "it came to inf"}


def test_a_record_from_before_has_none(tmp_path: Path) -> None:
    path = record().write(tmp_path)
    content = json.loads(path.read_text())
    del content["guarantees"]
    path.write_text(json.dumps({**content, "digest": digest(content)}))
    assert RunRecord.read(path).guarantees == {}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"delta": 2.0}, r"guarantee delta=2.0 is not in \[0, 1\]"),
        ({"epsilon": -0.5}, "guarantee epsilon=-0.5"),
        ({"epsilon": "small"}, "guarantees is no dict"),
        ([1.0], "guarantees is no dict"),
    ],
)
def test_an_impossible_guarantee_is_no_record(tmp_path: Path, value: Any, words: str) -> None:
    path = record().write(tmp_path)
    content = {**json.loads(path.read_text()), "guarantees": value}
    path.write_text(json.dumps({**content, "digest": digest(content)}))
    with pytest.raises(ValueError, match=words):
        RunRecord.read(path)


def test_every_guarantee_is_documented_with_its_meaning() -> None:
    text = (Path(__file__).parents[1] / "docs" / "records.md").read_text(encoding="utf-8")
    section = text.split("\n## Guarantees\n")[1]
    assert [name for name in GUARANTEES if f"`{name}`" not in section] == []
