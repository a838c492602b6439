"""What a method cost, by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unsir_bench import compose, run
from unsir_bench.evaluation.costs import costs, not_comparable, stopped_meanwhile

ACCESS = {"retain": {"samples": 6, "reads": 12}, "forget": {"samples": 1, "reads": 5}}


def context(**phases: float) -> Any:
    steps = {"impair": 7} if phases else {}
    return SimpleNamespace(clock=SimpleNamespace(total=4.0, phases=phases), steps=steps)


def split(retain: int, forget: int) -> Any:
    return SimpleNamespace(retain_train=torch.arange(retain), forget_train=torch.arange(forget))


def test_costs_by_hand() -> None:
    assert costs(context(impair=3.0), split(8, 2), ACCESS, [{"seconds": 10.0}]) == {
        "unlearn_seconds": 4.0, "retrain_seconds": 10.0, "speedup_vs_retrain": 2.5,
        "retain_samples_touched": 6, "forget_samples_touched": 1, "retain_passes": 1.5, "forget_passes": 2.5,
        "impair_seconds": 3.0, "impair_steps": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "phases"), [(None, {"impair": 3.0}), (10.0, {})], ids=["no retrained model", "nothing was done"]
)
def test_there_is_no_speed_up_without_both_times(seconds: float | None, phases: dict[str, float]) -> None:
    retrained = None if seconds is None else {"seconds": seconds}
    untouched = {kind: {"samples": 0, "reads": 0} for kind in ACCESS}
    found = costs(context(**phases), split(8, 2), untouched, [retrained])
    assert (found["retrain_seconds"], found["speedup_vs_retrain"]) == (seconds, None)


def test_a_method_that_names_no_phase_has_a_speed_up() -> None:
    assert costs(context(), split(8, 2), ACCESS, [{"seconds": 10.0}])["speedup_vs_retrain"] == 2.5


def test_the_speed_up_of_a_sequence_is_over_retraining_at_each_request() -> None:
    after_three: Any = SimpleNamespace(clock=SimpleNamespace(total=30.0, phases={"train": 30.0}), steps={"train": 3})
    found = costs(after_three, split(8, 2), ACCESS, [{"seconds": 12.0}, {"seconds": 10.0}, {"seconds": 8.0}])
    assert (found["retrain_seconds"], found["retrain_seconds_so_far"], found["speedup_vs_retrain"]) == (8.0, 30.0, 1.0)
    found = costs(after_three, split(8, 2), ACCESS, [{"seconds": 12.0}, None, {"seconds": 8.0}])
    assert (found["retrain_seconds"], found["retrain_seconds_so_far"], found["speedup_vs_retrain"]) == (8.0, None, None)


def test_retraining_at_each_of_three_requests_is_no_faster_than_itself(tmp_path: Path) -> None:
    record = run(compose([
        "method=retrain", "forget.sequence=[[0],[1],[2]]", "dataset.subset=15", "model.width=4", "train.epochs=1",
        "metrics=fast", "tracker=none", f"outputs={tmp_path}", f"store.root={tmp_path}/store",
    ]))  # fmt: skip
    each = [step["metrics"]["retrain_seconds"] for step in record.details["steps"]]
    metrics = record.metrics
    assert (metrics["retrain_seconds"], metrics["retrain_seconds_so_far"]) == (each[-1], pytest.approx(sum(each)))
    assert metrics["speedup_vs_retrain"] == pytest.approx(sum(each) / metrics["unlearn_seconds"])
    assert metrics["unlearn_seconds"] == pytest.approx(sum(each), abs=0.6)  # opening and closing the clock


def test_an_earlier_retraining_timed_elsewhere_leaves_a_sequence_without_a_speed_up() -> None:
    here: Any = SimpleNamespace(timed_elsewhere={}, why_not_timed_here=lambda manifest: manifest.get("elsewhere"))
    sums = ("retrain_seconds_so_far", "speedup_vs_retrain")
    assert not_comparable(here, [{}, {}]) == {}
    assert not_comparable(here, [{"elsewhere": "8 threads"}, {}]) == dict.fromkeys(sums, "8 threads")
    assert not_comparable(here, [{"elsewhere": "8 threads"}]).keys() == {"retrain_seconds", "speedup_vs_retrain"}


def test_there_are_no_passes_over_no_sample() -> None:
    found = costs(context(), split(0, 5), ACCESS, [None])
    assert (found["retain_passes"], found["forget_passes"]) == (None, 1.0)


def test_seconds_of_a_process_that_was_stopped_carry_a_caution() -> None:
    def told(own: int, manifest: dict[str, int] | None) -> str:
        context: Any = SimpleNamespace(clock=SimpleNamespace(stops=own))
        return stopped_meanwhile(context, [{}, manifest]).get("seconds_caution", "")

    assert told(0, None) == told(0, {}) == told(0, {"stops": 0}) == ""
    assert "during the method, whose" in told(1, {}) and "during retraining, whose" in told(0, {"stops": 1})
    assert "during the method and retraining, whose" in told(2, {"stops": 1})
