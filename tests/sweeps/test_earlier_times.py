"""A plan's times: medians of hand-made manifests and records, and the sums that are shown of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unsir_bench.cli.bootstrap import compose
from unsir_bench.config import Config
from unsir_bench.config_fields import identity
from unsir_bench.data.dataset import RawData
from unsir_bench.data.torchvision_sets import Cifar10
from unsir_bench.errors import DataError
from unsir_bench.records import RunRecord
from unsir_bench.references.store import Store, content_key
from unsir_bench.runtime.progress import Progress
from unsir_bench.sweeps import training_trial
from unsir_bench.sweeps.earlier_times import History
from unsir_bench.sweeps.plan import Need, Plan
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import FitState


def test_a_data_set_that_cannot_be_had_is_tried_once_for_all_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def read(config: Cifar10, _progress: Progress) -> RawData:
        asked.append(str(config.root))
        raise DataError("there is no network")

    monkeypatch.setattr(Cifar10, "read", read)
    history = History()
    for root in ("one", "one", "other"):
        config = compose(["dataset=cifar10", f"dataset.root={tmp_path}/{root}"])
        with pytest.raises(DataError, match="there is no network"):
            history.loaded(config)
    assert asked == [f"{tmp_path}/one", f"{tmp_path}/other"]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    words = ["dataset.subset=20", "method=ssd", "metrics=fast", "tracker=none", "hardware=cpu"]
    return compose([*words, f"outputs={tmp_path}", f"store.root={tmp_path}/store"])


def keep(config: Config, description: dict[str, Any], **manifest: Any) -> None:
    """Leave a manifest in the store; the time keeps entries of one description apart."""
    about = {**description, "at": manifest["seconds"]}
    Store(Path(config.store.root)).write(content_key(about), {}, {**manifest, "description": about})


def leave(config: Config, run_id: str, changes: dict[str, Any], **metrics: float) -> None:
    """Leave the record of a run like ``config``'s, some groups of it changed."""
    plain = {**config.as_plain(), **changes}
    record = RunRecord(run_id, "s", "ssd", "digits", "net", 0, plain, status="done", metrics=dict(metrics))
    record.write(Path(config.outputs) / "s" / run_id)


def test_training_takes_the_median_of_earlier_trainings_of_the_same_network_on_the_same_images(config: Config) -> None:
    data = History().loaded(config)[1].fingerprint
    same = {"model": identity(config.model), "numerics": dict(config.numerics), "data": data}
    for seconds, samples in ((30.0, 100), (10.0, 100), (20.0, 40)):
        keep(config, same, seconds=seconds, samples=samples)
    keep(config, same, seconds=7.0)  # no training
    for part in same:
        keep(config, {**same, part: "another"}, seconds=1000.0, samples=1)
    assert History().seconds_per_sample(config) == 0.3


def test_of_what_is_computed_before_the_same_kind_for_the_same_network_counts(config: Config) -> None:
    assert History().seconds_to_precompute("importance", config) is None
    model = identity(config.model)
    for seconds in (4.0, 11.0, 6.0):
        keep(config, {"kind": "importance", "model": model}, seconds=seconds)
    keep(config, {"kind": "fisher_diagonal", "model": model}, seconds=1000.0)
    keep(config, {"kind": "importance", "model": "another"}, seconds=2000.0)
    assert History().seconds_to_precompute("importance", config) == 6.0


def test_a_run_takes_what_runs_like_it_took_without_what_all_share(config: Config) -> None:
    leave(config, "a", {}, unlearn_seconds=2.0, importance_seconds=0.5, evaluation_seconds=4.0)  # 5.5 by itself
    leave(config, "b", {}, unlearn_seconds=3.0, importance_seconds=1.0, evaluation_seconds=6.0)  # 8
    leave(config, "c", {}, unlearn_seconds=10.0, evaluation_seconds=1.0)  # 11
    leave(config, "d", {"metrics": {"name": "full"}}, unlearn_seconds=4.0, evaluation_seconds=900.0)
    leave(config, "e", {"method": {"name": "unsir"}}, unlearn_seconds=700.0, evaluation_seconds=900.0)
    leave(config, "f", {"dataset": {"name": "digits", "subset": 7}}, unlearn_seconds=800.0, evaluation_seconds=900.0)
    assert History().seconds_of_run(config) == 8.0
    assert History().seconds_to_unlearn(config) == 3.5  # of 2, 3, 4 and 10: whatever the metrics


def test_a_plan_sums_what_is_to_do_and_says_what_it_does_not_know() -> None:
    plan = Plan(to_run=[SimpleNamespace()] * 2, seconds=[30.0, None])  # type: ignore[list-item]
    needs = (("original", False, 50.0), ("retrain", True, 1000.0), ("retrain", False, 200.0), ("log", False, None))
    for place, (kind, present, seconds) in enumerate(needs):
        plan.needs[str(place)] = Need(key=str(place), kind=kind, present=present, seconds=seconds)
    assert [tuple(row.values()) for row in plan.rows()] == [
        ("original", "1", "0", "1", "50 s"),
        ("retrain", "2", "1", "1", "3 min"),
        ("log", "1", "0", "1", "?"),
        ("runs", "2", "0", "2", "30 s + ?"),
    ]
    assert plan.total() == "about 5 min one after another, without 2 for which there is no earlier record"
    assert Plan(seconds=[None]).total() == "no estimate, without 1 for which there is no earlier record"


@pytest.mark.parametrize(("slowest", "batches"), [(0.5, 4), (0.01, 10), (9.0, 1)])
def test_a_trial_times_batches_of_two_seconds_ten_at_most_after_one_that_warms_up(
    config: Config, slowest: float, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def fit(_model: object, given: EpochBatches, *_: object) -> FitState:
        asked.append(given.samples)
        return FitState(samples=given.samples, seconds=slowest if len(asked) == 1 else 3.2)

    monkeypatch.setattr(training_trial, "fit", fit)
    images = History().loaded(config)[0]
    config.train.batch_size = 8
    assert training_trial.seconds_per_sample(config, images) == pytest.approx(3.2 / (8 * batches))
    assert asked == [8, 8 * batches]
