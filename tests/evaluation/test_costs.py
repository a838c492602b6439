"""What a method cost, by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unsir_bench.evaluation.costs import costs, stopped_meanwhile

ACCESS = {"retain": {"samples": 6, "reads": 12}, "forget": {"samples": 1, "reads": 5}}


def context(**phases: float) -> Any:
    steps = {"impair": 7} if phases else {}
    return SimpleNamespace(clock=SimpleNamespace(total=4.0, phases=phases), steps=steps)


def split(retain: int, forget: int) -> Any:
    return SimpleNamespace(retain_train=torch.arange(retain), forget_train=torch.arange(forget))


def test_costs_by_hand() -> None:
    retrained: Any = SimpleNamespace(seconds=10.0)
    assert costs(context(impair=3.0), split(8, 2), ACCESS, retrained) == {
        "unlearn_seconds": 4.0, "retrain_seconds": 10.0, "speedup_vs_retrain": 2.5,
        "retain_samples_touched": 6, "forget_samples_touched": 1, "retain_passes": 1.5, "forget_passes": 2.5,
        "impair_seconds": 3.0, "impair_steps": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "phases"), [(None, {"impair": 3.0}), (10.0, {})], ids=["no retrained model", "nothing was done"]
)
def test_there_is_no_speed_up_without_both_times(seconds: float | None, phases: dict[str, float]) -> None:
    retrained: Any = None if seconds is None else SimpleNamespace(seconds=seconds)
    untouched = {kind: {"samples": 0, "reads": 0} for kind in ACCESS}
    found = costs(context(**phases), split(8, 2), untouched, retrained)
    assert (found["retrain_seconds"], found["speedup_vs_retrain"]) == (seconds, None)


def test_a_method_that_names_no_phase_has_a_speed_up() -> None:
    retrained: Any = SimpleNamespace(seconds=10.0)
    assert costs(context(), split(8, 2), ACCESS, retrained)["speedup_vs_retrain"] == 2.5


def test_there_are_no_passes_over_no_sample() -> None:
    found = costs(context(), split(0, 5), ACCESS, None)
    assert (found["retain_passes"], found["forget_passes"]) == (None, 1.0)


def test_seconds_of_a_process_that_was_stopped_carry_a_caution() -> None:
    def told(own: int, manifest: dict[str, int] | None) -> str:
        context: Any = SimpleNamespace(clock=SimpleNamespace(stops=own))
        retrained: Any = None if manifest is None else SimpleNamespace(manifest=manifest)
        return stopped_meanwhile(context, retrained).get("seconds_caution", "")

    assert told(0, None) == told(0, {}) == told(0, {"stops": 0}) == ""
    assert "during the method, whose" in told(1, {}) and "during retraining, whose" in told(0, {"stops": 1})
    assert "during the method and retraining, whose" in told(2, {"stops": 1})
