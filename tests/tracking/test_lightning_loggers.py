"""MLflow and TensorBoard: what a run leaves in a real local store, by their own readers; faults cost no run."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.fake_run import a_record, use_whole
from unsir_bench import runner
from unsir_bench.cli.bootstrap import compose
from unsir_bench.config import Config, validate
from unsir_bench.errors import ConfigError
from unsir_bench.records import RunRecord
from unsir_bench.tracking import lightning_loggers, tracker_config
from unsir_bench.tracking.lightning_loggers import start_logger
from unsir_bench.tracking.run import Tracker, start_tracker
from unsir_bench.tracking.tracker_config import TrackerConfig

TINY = [
    "dataset=digits", "dataset.subset=15", "model.width=4", "train.epochs=1", "metrics=fast", "hardware=cpu",
    "hardware.threads=1",
]  # fmt: skip
pytestmark = pytest.mark.skipif(
    any(find_spec(module) is None for modules in tracker_config.LOGGERS.values() for module in modules),
    reason="the extra trackers is not installed",
)


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(lightning_loggers.SERVER, raising=False)


def config_of(folder: Path, *words: str) -> Config:
    return compose([*TINY, f"outputs={folder}/out", f"store.root={folder}/store", *words])


def mlflow_runs(store: str, project: str = "unsir-bench") -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store)
    return list(client.search_runs([client.get_experiment_by_name(project).experiment_id]))


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder))
    reader.Reload()
    return reader


def numbers(record: RunRecord) -> dict[str, float]:
    return {name: value for name, value in record.metrics.items() if value is not None}


@pytest.mark.slow
def test_a_run_is_in_a_local_mlflow_store_with_all_its_numbers(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    config = config_of(tmp_path, "tracker=mlflow")
    record = runner.run(config)
    assert record.status == "done"
    store = f"sqlite:///{tmp_path}/out/mlflow.db"
    [run] = mlflow_runs(store)
    assert (run.info.run_name, run.info.status) == (record.run_id, "FINISHED")
    assert {name: run.data.metrics[name] for name in record.metrics if name in run.data.metrics} == pytest.approx(
        numbers(record)
    )
    assert {"method": "unsir", "status": "done", "sweep": "runs"}.items() <= run.data.tags.items()
    assert run.data.tags["mlflow.source.name"] == "unsir-bench"  # not the path of the program
    assert run.data.tags.get("mlflow.user", "") == ""  # not who is logged in
    assert run.data.params["method/name"] == "unsir" and run.data.params["seed"] == "0"
    curve = MlflowClient(store).get_metric_history(run.info.run_id, "impair/loss")
    assert [point.step for point in curve] == list(range(len(curve))) or curve[-1].step > curve[0].step


@pytest.mark.slow
def test_a_run_is_in_event_files_with_all_its_numbers_and_each_attempt_has_its_own(tmp_path: Path) -> None:
    config = config_of(tmp_path, "tracker=tensorboard")
    record = runner.run(config)
    assert record.status == "done"
    reader = events(config.folder / "tensorboard" / "version_0")
    scalars = {name: reader.Scalars(name)[-1].value for name in reader.Tags()["scalars"]}
    assert {name: scalars[name] for name in numbers(record)} == pytest.approx(numbers(record), rel=1e-6)
    assert len(reader.Scalars("impair/loss")) >= 1
    assert b"done" in reader.Tensors("status/text_summary")[0].tensor_proto.string_val
    start_tracker(TrackerConfig(mode="tensorboard"), record, config.folder).finish(failed=True)
    assert (config.folder / "tensorboard" / "version_1").is_dir()


def test_a_failed_run_ends_as_failed_with_its_reason(tmp_path: Path) -> None:
    record = a_record(
        status="failed", reason="RuntimeError: it broke", config={"seed": 0, "list": [1, 2], "none": None}
    )
    folder = tmp_path / "out" / "sweep" / "run-id"
    for mode in tracker_config.LOGGERS:
        tracker = start_tracker(TrackerConfig(mode=mode), record, folder)
        tracker.report(record, folder)
        tracker.finish(failed=True)
    [run] = mlflow_runs(f"sqlite:///{tmp_path}/out/mlflow.db")
    assert run.info.status == "FAILED" and run.data.tags["reason"] == "RuntimeError: it broke"
    assert run.data.params["list"] == "[1, 2]"
    reader = events(folder / "tensorboard" / "version_0")
    assert reader.Tensors("reason/text_summary")[0].tensor_proto.string_val == [b"RuntimeError: it broke"]


def test_the_address_is_that_of_the_configuration_then_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("given", "environment")}
    monkeypatch.setenv(lightning_loggers.SERVER, addresses["environment"])
    for uri in (None, addresses["given"]):
        start_tracker(TrackerConfig(mode="mlflow", uri=uri, project="mine"), a_record(), tmp_path / "a" / "b" / "c")
        assert len(mlflow_runs(uri or addresses["environment"], "mine")) == 1
    assert not (tmp_path / "a").exists()


class FailingLogger:
    """A logger of Lightning whose store has gone."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any, **__: Any) -> None:
            self.calls.append(name)
            if name != "finalize":
                raise OSError("the disk is full")

        return call


def test_a_fault_is_one_warning_that_names_the_tracker_and_ends_the_logging(caplog: pytest.LogCaptureFixture) -> None:
    logger = FailingLogger()
    with caplog.at_level(logging.WARNING, "unsir_bench"):
        use_whole(lightning_loggers.TensorBoardTracker(logger))
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning == "TensorBoard failed (OSError: the disk is full); the run goes on without it"
    assert logger.calls[-1] == "finalize" and logger.calls.count("finalize") == 1


def test_a_store_that_cannot_be_opened_costs_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    with caplog.at_level(logging.WARNING, "unsir_bench"):
        tracker = start_logger(TrackerConfig(mode="mlflow"), a_record(), tmp_path / "sweep" / "run-id")
    assert type(tracker) is Tracker and any("MLflow did not start" in each.getMessage() for each in caplog.records)


@pytest.mark.parametrize(("mode", "module"), [("mlflow", "mlflow"), ("tensorboard", "tensorboard")])
def test_an_absent_package_is_refused_before_the_run(
    mode: str, module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tracker_config, "find_spec", lambda name: None if name == module else object())
    with pytest.raises(ConfigError) as caught:
        validate(config_of(tmp_path, f"tracker={mode}"))
    [problem] = caught.value.problems
    assert problem.startswith(f"tracker.mode={mode}: {module} is not installed; pip install 'unsir-bench[trackers]'")


def test_an_address_is_mlflows_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tracker\.uri=http://x: only tracker=mlflow has an address"):
        validate(config_of(tmp_path, "tracker=tensorboard", "tracker.uri='http://x'"))


def test_an_address_with_a_password_is_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tracker\.uri: holds a password.*MLFLOW_TRACKING_PASSWORD") as caught:
        validate(config_of(tmp_path, "tracker=mlflow", "tracker.uri='https://me:secret@host:5000'"))
    assert "secret" not in str(caught.value)
    validate(config_of(tmp_path, "tracker=mlflow", "tracker.uri='https://host:5000'"))


def test_neither_the_choice_nor_the_address_names_the_run(tmp_path: Path) -> None:
    ids = {config_of(tmp_path, *words).run_id for words in (["tracker=none"], ["tracker=mlflow", "tracker.uri=x"])}
    assert len(ids) == 1
