"""Accuracies between impair and repair: right, and without a trace in the run."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.fake_time import FakeTime
from unsir_bench import compose
from unsir_bench.config import Config
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.evaluation.stages import Stages
from unsir_bench.records import RunRecord
from unsir_bench.runner import run
from unsir_bench.runtime.peak_memory import PeakMemory
from unsir_bench.training.context import RunContext

TINY = [
    "dataset.subset=15", "model.width=4", "train.epochs=2", "method.noise.steps=4", "method.noise.batch_size=8",
    "method.noise.copies=2", "metrics=fast", "tracker=none",
]  # fmt: skip


def composed(folder: Path, *overrides: str) -> Config:
    return compose([*TINY, f"outputs={folder}", f"store.root={folder}/store", *overrides])


def without_times(record: RunRecord) -> dict[str, Any]:
    return {name: value for name, value in record.metrics.items() if not any(w in name for w in ("seconds", "bytes"))}


def test_impair_is_measured_once_a_round_and_is_that_of_the_model_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    then: list[tuple[Stages, nn.Module]] = []
    measure = Stages.measure

    def keep(self: Stages, name: str, model: nn.Module) -> None:
        then.append((self, copy.deepcopy(model).eval()))
        measure(self, name, model)

    monkeypatch.setattr(Stages, "measure", keep)
    record = run(composed(tmp_path, "method.rounds=2"))
    assert record.status == "done", record.error
    stages = record.details["stages"]
    assert [(entry["stage"], entry["step"]) for entry in stages] == [("impair", 0), ("impair", 0)]
    for entry, (watch, model) in zip(stages, then, strict=True):
        hits: dict[bool, list[bool]] = {True: [], False: []}
        for images, labels in watch.data.view("test").batches(1):
            with torch.no_grad():
                hits[int(labels) in record.forget_classes].append(int(model(images).argmax()) == int(labels))
        assert entry["acc_forget_test"] == pytest.approx(np.mean(hits[True]))
        assert entry["acc_retain_test"] == pytest.approx(np.mean(hits[False]))
    assert record.details["metric_seconds"]["stages"] > 0


def test_no_number_of_the_run_changes_when_stages_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = run(composed(tmp_path / "with"))
    monkeypatch.setattr(RunContext, "stage", lambda self, name, model: None)
    bare = run(composed(tmp_path / "without"))
    assert "stages" in measured.details and "stages" not in bare.details
    assert measured.fingerprints == bare.fingerprints
    speed = {name for name in bare.metrics if name.startswith("speedup")}
    assert {k: v for k, v in without_times(measured).items() if k not in speed} == {
        k: v for k, v in without_times(bare).items() if k not in speed
    }


def test_generators_mode_batch_statistics_and_peak_memory_are_left_alone(
    make_context: Any, digits: Any, fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context()
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), [0], digits.num_classes)
    model = context.initial_network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    reads, resets = iter([100, 10**12]), []
    monkeypatch.setattr(PeakMemory, "read", lambda self: next(reads))
    monkeypatch.setattr(PeakMemory, "reset", lambda self: resets.append(1))
    monkeypatch.setattr("unsir_bench.evaluation.stages.time", fake_time)
    drawing = nn.Module.__call__

    def drawn(self: nn.Module, *inputs: Any) -> Any:
        fake_time.pass_by(1)
        torch.rand(3)
        return drawing(self, *inputs)

    monkeypatch.setattr(nn.Module, "__call__", drawn)
    context.seed_everything("here")
    stages = Stages(digits, context, split)
    context.at_stage = stages.measure
    with context.clock.running():
        context.stage("impair", model)
    after = (random.random(), np.random.rand(), torch.rand(1).item())
    context.seed_everything("here")
    assert after == (random.random(), np.random.rand(), torch.rand(1).item())
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (context.stored_peak_bytes, resets) == (100, [1])  # what the evaluation itself takes is never read
    assert context.clock.total == 0 < stages.seconds


def test_a_stage_whose_logits_are_not_finite_has_no_accuracies(make_context: Any, digits: Any) -> None:
    """The largest of NaN is the first class: all of its samples would be right."""
    context = make_context()
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), [0], digits.num_classes)
    model, stages = context.initial_network(), Stages(digits, context, split)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(1e20)
    stages.measure("impair", model)
    assert stages.found == [{"stage": "impair", "step": 0, "acc_forget_test": None, "acc_retain_test": None}]


def test_a_sequence_has_a_stage_for_each_step(tmp_path: Path) -> None:
    record = run(composed(tmp_path, "forget=sequence", "forget.sequence=[[0],[1]]"))
    assert [entry["step"] for entry in record.details["stages"]] == [0, 1]


def test_a_model_of_another_seed_marks_no_stage_of_this_run(make_context: Any) -> None:
    context = make_context(at_stage=lambda name, model: pytest.fail("marked"))
    context.of_another_seed(5).stage("impair", nn.Identity())
