"""Frozen results of a tiny run on digits: a change of the code that changes results must raise a version constant.

To write tests/golden/digits.json anew after such a change:

    UNSIR_BENCH_WRITE_GOLDEN=1 python -m pytest -n 0 tests/test_golden_record.py
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from unsir_bench import compose, versions
from unsir_bench.evaluation import registry
from unsir_bench.records import RunRecord
from unsir_bench.report.consistency import _contradictions
from unsir_bench.runner import run

GOLDEN = Path(__file__).parent / "golden" / "digits.json"
WRITE = "UNSIR_BENCH_WRITE_GOLDEN"
METHODS = ("unsir_slim", "retrain")
OVERRIDES = [
    "dataset=digits", "dataset.subset=40", "model=allcnn_slim", "model.width=8", "train=small", "train.epochs=3",
    "forget=single", "seed=0", "hardware=cpu", "hardware.threads=1", "tracker=none", "metrics=standard",
    "metrics.floor=false", "metrics.relearn.cap=20",
]  # fmt: skip
# What depends on the machine's speed and memory.
MEASURED = ("seconds", "speedup", "bytes")
# CPUs with other vector instructions round differently, and so small networks end at somewhat other accuracies.
ACCURACY_ELSEWHERE = 0.2
# What follows from the numbers of samples and epochs alone is the same on every CPU.
COUNTS = ("_steps", "_passes", "_samples_touched")
CHANGED = (
    "results changed: raise RESULTS_VERSION (or TRAINING_VERSION, if trainings changed) in unsir_bench/versions.py, "
    f"write it into CHANGELOG.md, and write the golden record anew ({WRITE}=1, see this test's first lines)"
)


@pytest.fixture(scope="module", autouse=True)
def shipped_metrics_alone() -> Iterator[None]:
    """Tests of this process may have registered a user's metrics."""
    registry.registered()
    shipped = {key: each for key, each in registry._METRICS.items() if each.shipped}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_METRICS", shipped)
        yield


def constants() -> dict[str, int]:
    """The version constants: every name in capitals of unsir_bench/versions.py."""
    return {name: value for name, value in vars(versions).items() if name.isupper()}


def kind_of_cpu(environment: dict[str, Any]) -> dict[str, str]:
    """What decides the last bits: results are compared to the bit only where all of this is the same."""
    return {
        "cpu": environment["cpu"],
        "cpu_capability": environment["cpu_capability"],
        "torch": environment["packages"]["torch"],
    }


def results(record: RunRecord) -> dict[str, Any]:
    """The part of a record that the same code must give again."""
    metrics = {name: value for name, value in record.metrics.items() if not any(part in name for part in MEASURED)}
    return {"run_id": record.run_id, "metrics": metrics}


def differences(golden: dict[str, Any], found: dict[str, Any], exact: bool) -> list[str]:
    """What of a run is not as the golden record says; unless ``exact``, counts and accuracies that are far off."""
    wrong = [f"run_id: {golden['run_id']} -> {found['run_id']}"] if golden["run_id"] != found["run_id"] else []
    before, after = golden["metrics"], found["metrics"]
    if before.keys() != after.keys():
        return [*wrong, f"metrics that only one has: {sorted(before.keys() ^ after.keys())}"]
    if exact:
        changed = [name for name in before if before[name] != after[name]]
    else:
        accuracies = [name for name in before if "acc_" in name and "gap" not in name]
        changed = [name for name in accuracies if abs(before[name] - after[name]) > ACCURACY_ELSEWHERE]
        changed += [name for name in before if name.endswith(COUNTS) and before[name] != after[name]]
    return wrong + [f"{name}: {before[name]} -> {after[name]}" for name in changed]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunRecord]:
    folder = tmp_path_factory.mktemp("golden")
    found = {}
    for method in METHODS:
        overrides = [*OVERRIDES, f"method={method}", f"outputs={folder}", f"store.root={folder}/store"]
        found[method] = run(compose(overrides))
    if os.environ.get(WRITE):
        content = {
            "versions": constants(),
            "environment": kind_of_cpu(found["unsir_slim"].environment),
            "overrides": OVERRIDES,
            "records": {method: results(record) for method, record in found.items()},
        }
        GOLDEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return found


def golden() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("method", METHODS)
def test_a_tiny_run_gives_the_golden_record(method: str, records: dict[str, RunRecord]) -> None:
    record = records[method]
    assert record.status == "done", record.reason
    assert golden()["overrides"] == OVERRIDES, CHANGED
    exact = kind_of_cpu(record.environment) == golden()["environment"]
    wrong = differences(golden()["records"][method], results(record), exact)
    assert not wrong, "\n".join([CHANGED, *wrong])
    assert list(_contradictions(record.metrics)) == []


def test_the_golden_record_is_of_the_present_versions() -> None:
    assert golden()["versions"] == constants(), CHANGED


def test_every_version_of_the_golden_record_stands_in_the_changelog() -> None:
    """Versions above the first release's were raised by a change, which CHANGELOG.md tells with the constant's name."""
    changelog = (GOLDEN.parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    absent = [name for name, value in constants().items() if f"`{name}` {value}" not in changelog]
    assert not absent, f"CHANGELOG.md does not say at which value these are, as in `NAME` 2: {absent}"


def test_differences_are_found() -> None:
    metrics = {"acc_retain_test": 0.5, "zrf": 0.25, "repair_steps": 12, "retain_passes": 2.0}
    before = {"run_id": "a", "metrics": metrics}
    next_to_it = torch.tensor(0.25).nextafter(torch.tensor(1.0)).item()
    last_bit = {"run_id": "a", "metrics": {**metrics, "zrf": next_to_it}}
    assert differences(before, before, exact=True) == []
    assert len(differences(before, last_bit, exact=True)) == 1
    assert differences(before, last_bit, exact=False) == []
    far = {"run_id": "b", "metrics": {**metrics, "acc_retain_test": 0.9}}
    assert [line.split(":")[0] for line in differences(before, far, exact=False)] == ["run_id", "acc_retain_test"]
    more = {"run_id": "a", "metrics": {**metrics, "repair_steps": 13, "retain_passes": 2.5}}
    assert [line.split(":")[0] for line in differences(before, more, exact=False)] == ["repair_steps", "retain_passes"]
    fewer = {"run_id": "a", "metrics": {"zrf": 0.25}}
    assert "acc_retain_test" in differences(before, fewer, exact=False)[0]
