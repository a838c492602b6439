"""`unsir-bench reproduce`: the same run again, from its record alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from tests.test_golden_record import constants, kind_of_cpu
from unsir_bench.cli import recorded_config
from unsir_bench.cli.bootstrap import compose, installed
from unsir_bench.cli.main import _status
from unsir_bench.cli.recorded_config import CannotRepeatError, config_of
from unsir_bench.cli.reproduce import compared
from unsir_bench.errors import NotRecordedError
from unsir_bench.records import RunRecord, digest
from unsir_bench.references.record_folders import noted_folder, notes
from unsir_bench.runner import run
from unsir_bench.runs.record_of_run import blank_record
from unsir_bench.runtime.environment import environment
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import Access, UnlearningData, UnlearningMethod

TINY = [
    "dataset=digits", "dataset.subset=20", "model=allcnn_slim", "model.width=4", "train=small", "train.epochs=2",
    "method=unsir_slim", "forget=single", "hardware=cpu", "hardware.threads=1", "tracker=none", "metrics=fast",
]  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    place = tmp_path_factory.mktemp("done")
    config = compose([*TINY, f"outputs={place}", f"store.root={place}/store"])
    record = run(config)
    assert record.status == "done", record.reason
    return config.folder


@pytest.fixture
def reproduce(done: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def call(*words: object) -> tuple[int, str]:
        status = _status(["reproduce", *map(str, words), "--store", str(done.parents[1] / "store")])
        return status, capsys.readouterr().out

    return call


# Written by the record's own command, from a clean clone; `make reproduce` does it again.
COMMITTED = Path(__file__).resolve().parents[1] / "golden" / "digits_run"


def altered(done: Path, folder: Path, **changes: Any) -> Path:
    """A copy of the record with other fields and a digest that is right."""
    content = {**json.loads((done / "record.json").read_text()), **changes}
    folder.mkdir(exist_ok=True)
    path = folder / "record.json"
    path.write_text(json.dumps({**content, "digest": digest(content)}))
    return path


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_fresh_run_comes_out_identical_and_its_folder_is_not_touched(
    done: Path, reproduce: Callable[..., tuple[int, str]]
) -> None:
    before = contents(done.parents[0])
    status, said = reproduce(done)
    assert status == 0, said
    assert f"{done.name}: identical bits" in said and "differs" not in said
    assert "acc_forget_test" in said and "seconds │" not in said
    assert contents(done.parents[0]) == before
    noted = [noted_folder(note) for note in notes(done.parents[1] / "store")]
    assert noted == [done.parents[1]]  # by the run; not the temporary folder of its repetition


def test_the_models_trained_again_are_the_same_to_the_bit(
    done: Path, reproduce: Callable[..., tuple[int, str]]
) -> None:
    status, said = reproduce(done / "record.json", "--fresh")
    assert status == 0, said
    assert "weights of" not in said


def test_an_accuracy_changed_by_two_points_differs(
    done: Path, tmp_path: Path, reproduce: Callable[..., tuple[int, str]]
) -> None:
    metrics = RunRecord.read(done / "record.json").metrics
    value = metrics["acc_retain_test"]
    assert value is not None
    told = value - 0.02 if value >= 0.02 else value + 0.02
    path = altered(done, tmp_path / "changed", metrics={**metrics, "acc_retain_test": told})
    status, said = reproduce(path)
    assert status == 1
    line = next(line for line in said.splitlines() if " acc_retain_test " in line)
    assert "differs" in line and str(told) in line and str(value) in line
    assert "1 differs" in said


def test_a_line_of_a_file_of_records_is_repeated(
    done: Path, tmp_path: Path, reproduce: Callable[..., tuple[int, str]]
) -> None:
    content = json.loads((done / "record.json").read_text())
    (tmp_path / "records.jsonl").write_text(f"{{}}\n{json.dumps(content)}\n")
    status, said = reproduce(f"{tmp_path / 'records.jsonl'}:2")
    assert status == 0, said
    for line, reason in ((1, "schema version None"), (3, "the file has 2 lines")):
        status, said = reproduce(f"{tmp_path / 'records.jsonl'}:{line}")
        assert status == 2 and reason in said and f"records.jsonl:{line}" in said


def folder_of_images(config: dict[str, Any]) -> dict[str, Any]:
    dataset = {**config["dataset"], "name": "mine", "root": "/nowhere/images", "test_share": 0.2, "split_seed": 0}
    return {**config, "dataset": {**dataset, "mode": "RGB", "on_bad_image": "error"}}


CANNOT: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "images": (lambda content: {"config": folder_of_images(content["config"])}, "/nowhere/images"),
    "plug-in": (
        lambda content: {"config": {**content["config"], "method": {"name": "theirs", "force": 3}}},
        "method=theirs: nothing installed has its settings",
    ),
    "version": (
        lambda content: {"environment": {**content["environment"], "versions": {"RESULTS_VERSION": 1}}},
        "it is of RESULTS_VERSION 1",
    ),
    "another run": (lambda content: {"run_id": content["run_id"][:-1] + "x"}, "another RESULTS_VERSION"),
    "failed": (lambda content: {"status": "failed"}, "only finished runs"),
    "no digest": (lambda content: {"digest": ""}, "does not match its digest"),
}


@pytest.mark.parametrize("why", CANNOT)
def test_what_cannot_be_repeated_is_refused_by_name(
    done: Path, tmp_path: Path, reproduce: Callable[..., tuple[int, str]], why: str
) -> None:
    change, reason = CANNOT[why]
    path = altered(done, tmp_path / "other", **change(json.loads((done / "record.json").read_text())))
    if why == "no digest":
        path.write_text(json.dumps({**json.loads(path.read_text()), "digest": ""}))
    status, said = reproduce(path)
    assert status == 2 and reason in said and str(path) in said


@pytest.mark.parametrize("error", [NotRecordedError("the disk is full"), OSError("the disk is full")])
def test_a_full_disk_is_named_and_the_other_records_are_repeated(
    done: Path, reproduce: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    record = RunRecord.read(done / "record.json")
    answers = iter([error, record])

    def again(*_: object) -> RunRecord:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("unsir_bench.cli.reproduce.done_again", again)
    status, said = reproduce(done, done / "record.json")
    assert status == 2 and f"{done}: cannot be repeated: the disk is full" in said
    assert f"{done.name}: identical bits" in said


def test_a_record_that_is_not_there_is_named(tmp_path: Path, reproduce: Callable[..., tuple[int, str]]) -> None:
    status, said = reproduce(tmp_path / "none.json")
    assert status == 2 and "none.json" in said


class Pace(Enum):
    """Of a plug-in."""

    SLOW = 1
    FAST = 2


@dataclasses.dataclass
class Theirs(UnlearningMethod):
    """A plug-in's method with a name and a field that look like ours."""

    name: str = "scrub_r"
    trained_on: str = "their images"
    noise: dict[str, int] = dataclasses.field(default_factory=lambda: {"theirs": 1})
    folder: Path = Path("/their/images")
    pace: Pace = Pace.SLOW
    requires: ClassVar[frozenset[Access]] = frozenset()

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        return model


@pytest.mark.parametrize("name", ["scrub_r", "delete_r"])
def test_names_and_fields_that_look_like_ours_do_not_hide_a_plug_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its paths and enums, which JSON lacks, are recorded as OmegaConf reads them."""
    config = compose([*TINY, f"outputs={tmp_path}"])
    config.method, config.dataset.name = Theirs(name=name, pace=Pace.FAST), "deleted_people"
    record = RunRecord.read(blank_record(config).write(config.folder))
    found = lambda base: [*installed(base), *{Theirs} & {*base.__subclasses__()}]  # noqa: E731
    monkeypatch.setattr(recorded_config, "installed", found)
    again = config_of(record)
    assert (again.run_id, again.method, again.dataset) == (config.run_id, config.method, config.dataset)


@pytest.mark.parametrize("backbone", ["allcnn_slim", "resnet18_tiny"])
def test_a_head_on_a_backbone_is_found_again(tmp_path: Path, backbone: str) -> None:
    data = [word for word in TINY if not word.startswith(("model", "method"))]
    words = ["model=frozen_head", f"model@model.backbone={backbone}", "method=statistical_query"]
    config = compose([*data, *words, f"outputs={tmp_path}"])
    record = RunRecord.read(blank_record(config).write(config.folder))
    again = config_of(record)
    assert (again.run_id, again.model) == (config.run_id, config.model)
    other = {**record.config["model"], "backbone": {**record.config["model"]["backbone"], "force": 3}}
    with pytest.raises(CannotRepeatError, match=f"backbone={config.model.backbone.name}: nothing installed"):
        config_of(dataclasses.replace(record, config={**record.config, "model": other}))


@pytest.mark.parametrize("method", ["unsir", "unsir_gentle"])
def test_a_run_whose_share_overruled_a_number_is_found_again_though_its_record_has_null(
    tmp_path: Path, method: str
) -> None:
    config = compose([*TINY, f"method={method}", "method.retain_share=0.2", f"outputs={tmp_path}"])
    record = RunRecord.read(blank_record(config).write(config.folder))
    assert record.config["method"]["retain_per_class"] is None
    again = config_of(record)
    assert (again.run_id, again.method) == (config.run_id, config.method)


def test_a_difference_below_that_of_two_retrained_models_is_named(done: Path) -> None:
    record = RunRecord.read(done / "record.json")
    metrics = {"acc_retain_test": 0.50, "floor_gap_acc_retain_test": -0.02, "unlearn_seconds": 3.0}
    then = dataclasses.replace(record, metrics=metrics)
    for now, verdict in ((0.50, "identical bits"), (0.515, "within the floor"), (0.53, "differs"), (None, "differs")):
        again = dataclasses.replace(record, metrics={**metrics, "acc_retain_test": now, "unlearn_seconds": 9.0})
        assert [one.verdict for one in compared(then, again)] == [verdict, "identical bits"]


def test_a_record_tells_of_the_trainings_of_its_references(done: Path) -> None:
    record = RunRecord.read(done / "record.json")
    assert record.references.keys() == {"original", "retrain"}
    for told in record.references.values():
        assert len(told["weights"]) == 16
        for name in ("commit", "dirty", "cpu", "cpu_capability", "threads", "lock_hash", "versions"):
            assert told["trained_in"][name] == record.environment[name]
    assert record.references["original"]["weights"] != record.references["retrain"]["weights"]


def test_the_committed_record_is_of_a_clean_tree_and_of_this_code_s_versions() -> None:
    record = RunRecord.read(COMMITTED / "record.json")
    told = [record.environment, *(each["trained_in"] for each in record.references.values())]
    assert [each["dirty"] for each in told] == [False] * 3
    assert len({each["commit"] for each in told}) == 1
    assert record.environment["versions"] == constants(), "write it anew: see COMMITTED"
    assert (record.status, record.environment["threads"]) == ("done", 1)


@pytest.mark.slow
def test_the_committed_record_comes_out_identical_here_and_differs_if_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = kind_of_cpu(environment(torch.device("cpu")))
    if kind_of_cpu(RunRecord.read(COMMITTED / "record.json").environment) != here:
        pytest.skip(f"it was made on another kind of CPU than {here}")
    store = ["--store", str(tmp_path / "store")]
    assert _status(["reproduce", str(COMMITTED), *store]) == 0, capsys.readouterr().out
    metrics = RunRecord.read(COMMITTED / "record.json").metrics
    told = {**metrics, "acc_retain_test": (metrics["acc_retain_test"] or 0.0) - 0.02}
    assert _status(["reproduce", str(altered(COMMITTED, tmp_path / "changed", metrics=told)), *store]) == 1
    said = capsys.readouterr().out
    assert f"{RunRecord.read(COMMITTED / 'record.json').run_id}: identical bits" in said
    assert "1 differs" in said
