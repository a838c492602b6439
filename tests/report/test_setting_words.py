"""How a setting that differs is named: briefly, and never so that two settings read alike."""

from __future__ import annotations

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.conditions import settings


def named(*values: float) -> list[str]:
    return settings([
        RunRecord(
            run_id=f"m-{place}", sweep="s", method="m", dataset="d", model="net", seed=0, status="done",
            forget_set="single", forget_classes=[0], forget_steps=[[0]], metrics={},
            config={"method": {"name": "m", "train": {"lr": value}}},
        )
        for place, value in enumerate(values)
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.02, 1.0), ["lr=0.02", "lr=1.0"]),
        ((0.02, 0.00357637888129162), ["lr=0.02", "lr=0.003576"]),
        ((2.4651702925825215e-08, 1e-08), ["lr=2.465e-08", "lr=1e-08"]),
        ((0.00357637888129162, 0.00357637888129163), ["lr=0.00357637888129162", "lr=0.00357637888129163"]),
        ((0.003576, 0.00357637888129162), ["lr=0.003576", "lr=0.00357637888129162"]),
        ((0.00357637888129162, 0.00357637888129162), ["", ""]),
    ],
)
def test_a_number_of_many_digits_is_cut_where_no_other_would_read_the_same(
    values: tuple[float, ...], expected: list[str]
) -> None:
    assert named(*values) == expected
