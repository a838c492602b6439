"""A_Dr and A_Df at the stages that a method marks, such as between impair and repair, without a trace in the run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.evaluation.metrics.accuracy import retain_forget_accuracies
from unsir_bench.references.store import all_finite
from unsir_bench.runtime.peak_memory import PeakMemory
from unsir_bench.training.context import RunContext
from unsir_bench.training.inference import predict


@dataclass
class Stages:
    """Measures a model on the test split at each stage; the record's ``details.stages``.

    Attributes:
        data: the data set.
        context: the run's.
        split: of all that is forgotten by the step at work.
        seconds: spent here, none of them the method's.
        found: one entry for each stage, in order: ``stage`` (its name), ``step`` (of a sequence, from 0),
            ``acc_forget_test`` and ``acc_retain_test``, in [0, 1]; None where there is no such sample, or where a
            logit is NaN or infinite.
    """

    data: DeviceData
    context: RunContext
    split: ForgetSplit
    seconds: float = 0.0
    found: list[dict[str, Any]] = field(default_factory=list)

    def measure(self, name: str, model: nn.Module) -> None:
        """Measure ``model``, and leave generators, its mode and the peak memory of the method as they were."""
        started, context = time.perf_counter(), self.context
        memory = PeakMemory(context.device)
        context.stored_peak_bytes = max(context.stored_peak_bytes, memory.read())
        gpus = [context.device] if context.device.type == "cuda" else []
        with torch.random.fork_rng(gpus):
            logits = predict(model, self.data.view("test"), context, f"evaluating after {name}")
        indices = {part: chosen for part, chosen in self.split.indices.items() if part.endswith("_test")}
        accuracies = retain_forget_accuracies({"test": logits}, {"test": self.data.labels("test")}, indices)
        if not all_finite({"test": logits}):  # repair may still help
            accuracies = dict.fromkeys(accuracies)
        self.found.append({"stage": name, "step": context.step, **accuracies})
        memory.reset()
        self.seconds += time.perf_counter() - started
