"""Runs that can be given no further metrics: each is told why before anything is measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from unsir_bench.cli.bootstrap import compose
from unsir_bench.evaluation.evaluate import MetricsConfig
from unsir_bench.records import RunRecord
from unsir_bench.runs.added_metrics import CannotEvaluateError, add_metrics
from unsir_bench.versions import EVALUATION_VERSION


@pytest.mark.parametrize(
    ("environment", "hardware", "words"),
    [
        ({"versions": {"EVALUATION_VERSION": EVALUATION_VERSION - 1}}, {},
         rf"of EVALUATION_VERSION {EVALUATION_VERSION - 1}, and this code's of {EVALUATION_VERSION}: remove the run's"),
        ({"versions": {"EVALUATION_VERSION": EVALUATION_VERSION}}, {"devices": 2}, r"hardware\.devices=2; one device"),
        ({}, {"devices": 2}, r"hardware\.devices=2; one device"),  # of before records named versions
    ],
)  # fmt: skip
def test_a_run_of_other_metrics_or_several_devices_is_refused(
    environment: dict[str, Any], hardware: dict[str, Any], words: str, tmp_path: Path
) -> None:
    config = compose(["method=original", "hardware=cpu", "metrics=fast"])
    config.hardware = dataclasses.replace(config.hardware, **hardware)
    record = RunRecord("id", "s", "original", "digits", "net", 0, "done", environment=environment)
    with pytest.raises(CannotEvaluateError, match=words):
        add_metrics(record, config, MetricsConfig(), tmp_path)
    assert not list(tmp_path.iterdir())
