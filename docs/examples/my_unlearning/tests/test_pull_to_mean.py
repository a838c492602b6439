"""What every method promises, checked on this one by tiny runs on digits.

The package must be installed, or named in UNSIR_BENCH_PLUGINS.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from my_unlearning.pull_to_mean import PullToMean, pull_rows
from safetensors.torch import load_file
from torch import nn

from unsir_bench import Access, RunContext, UnlearningData, compose, run

TINY = [
    "dataset.subset=15", "model.width=4", "train.epochs=2", "metrics=fast", "tracker=none", "retrain_reference=false",
]  # fmt: skip


class Careless(PullToMean):
    """Reads more than it declares."""

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        data.forget  # noqa: B018 - asking is enough
        return super().unlearn(model, data, context)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A run in a folder of its own; all share the original model."""
    store = tmp_path_factory.mktemp("store")

    def of(*overrides: str) -> Any:
        places = [f"outputs={tmp_path_factory.mktemp('runs')}", f"store.root={store}"]
        return compose(["method=pull_to_mean", "forget=pair", *TINY, *places, *overrides])

    return of


@pytest.fixture(scope="module")
def record(config: Callable[..., Any]) -> Any:
    return run(config())


def test_a_pulled_row_is_the_mean_of_the_rows_that_stay() -> None:
    head = nn.Linear(2, 4)
    head.weight.data = torch.tensor([[8.0, 0.0], [2.0, 4.0], [4.0, 8.0], [100.0, 100.0]])
    head.bias.data = torch.tensor([6.0, 1.0, 3.0, 100.0])
    pull_rows(head, classes=[0], gone=[0, 3], strength=0.5)
    assert head.weight.tolist() == [[5.5, 3.0], [2.0, 4.0], [4.0, 8.0], [100.0, 100.0]]
    assert head.bias.tolist() == [4.0, 1.0, 3.0, 100.0]


def test_a_class_that_is_fully_pulled_is_never_predicted() -> None:
    torch.manual_seed(0)
    head = nn.Linear(16, 10)
    pull_rows(head, classes=[3, 7], gone=[3, 7], strength=1.0)
    assert not torch.isin(head(torch.randn(1000, 16)).argmax(dim=1), torch.tensor([3, 7])).any()


def test_the_same_architecture_comes_back_with_finite_weights(config: Callable[..., Any]) -> None:
    wanted = config()
    made = run(wanted)
    assert made.status == "done"  # a NaN would make it `diverged`
    weights = load_file(Path(wanted.store.root) / "entries" / made.unlearned[-1]["key"] / "weights.safetensors")
    wanted.model.build((1, 8, 8), 10).load_state_dict(weights)
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_the_same_seed_gives_the_same_weights(config: Callable[..., Any], record: Any) -> None:
    torch.manual_seed(12345)  # what ran before in the process must not matter
    again = run(config())
    assert again.fingerprints["weights"] == record.fingerprints["weights"]
    assert run(config("seed=1")).fingerprints["weights"] != record.fingerprints["weights"]


def test_only_what_is_declared_is_touched(record: Any) -> None:
    assert record.access["declared"] == ["retain_subset"]
    assert record.access["forget"] == {"samples": 0, "reads": 0}
    assert record.access["retain"] == {"samples": 8 * 15, "reads": 2 * 8 * 15}  # all of 8 classes, twice


def test_reading_undeclared_data_fails_the_run(config: Callable[..., Any]) -> None:
    careless = config()
    careless.method = Careless()
    record = run(careless)
    assert record.status == "failed"
    assert record.reason == (
        "AccessDenied: method 'pull_to_mean' asked for forget_data but declares retain_subset; "
        "a method that needs it must name it in `requires`"
    )


def test_withheld_access_skips_it_where_it_needs_that_and_only_there(config: Callable[..., Any]) -> None:
    skipped = run(config("withheld=[retain_subset]"))
    assert skipped.status == "skipped"
    assert skipped.reason == "method 'pull_to_mean' needs retain_subset, which this run withholds"
    others = [access.value for access in Access if access is not Access.RETAIN_SUBSET]
    assert run(config(f"withheld=[{','.join(others)}]")).status == "done"


def test_the_configuration_is_not_changed_by_a_run(config: Callable[..., Any]) -> None:
    wanted = config()
    before = copy.deepcopy(wanted.method)
    run(wanted)
    assert wanted.method == before


def test_its_phases_are_timed_and_its_steps_booked(record: Any) -> None:
    parts = [record.metrics[f"{phase}_seconds"] for phase in ("pull", "repair")]
    assert 0 < sum(parts) <= record.metrics["unlearn_seconds"]
    assert record.metrics["repair_steps"] == 2 * math.ceil(8 * 15 / record.config["dataset"]["batch_size"])
    assert "pull_steps" not in record.metrics


def test_a_wrong_setting_is_refused_before_any_work(config: Callable[..., Any]) -> None:
    record = run(config("method.strength=1.5"))
    assert record.status == "failed"
    assert "method.strength=1.5: must be above 0 and at most 1" in record.reason


def test_the_packages_metric_stands_in_the_record(record: Any) -> None:
    own, before = (record.metrics[f"{prefix}forget_confidence"] for prefix in ("", "original_"))
    assert 0 <= own <= 1 and 0 <= before <= 1 and own != before
