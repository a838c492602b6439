"""A sweep on a Ray cluster that is already up: two nodes with one core each, both on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweep_records import comparable, records

pytestmark = pytest.mark.slow

NODE = "UNSIR_BENCH_TEST_NODE"  # each node's processes have another value
NODES = ("first", "second")
SWEEP = [
    "-m", "method=original", "seed=0,1", "dataset=digits", "dataset.subset=15", "model.width=4", "train.epochs=1",
    "tracker=none", f"tracker.project=${{oc.env:{NODE}}}", "metrics=fast", "hardware=cpu", "hardware.threads=1",
]  # fmt: skip
RAY = ["hydra/launcher=ray_cluster", "hydra.launcher.ray.remote.num_gpus=0"]


@pytest.fixture
def address() -> Iterator[str]:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="the extra ray is not installed")
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="the extra ray is not installed")
    cluster = cluster_utils.Cluster()
    try:
        for name in NODES:
            cluster.add_node(num_cpus=1, include_dashboard=False, env_vars={NODE: name})
        yield cluster.address
    finally:
        cluster.shutdown()


def sweep(folder: Path, *launcher: str, **environment: str) -> dict[str, dict]:
    done = subprocess.run(
        [sys.executable, "-m", "unsir_bench", *SWEEP, *launcher, f"outputs={folder}", f"store.root={folder}/store"],
        env=os.environ | {NODE: "the command's"} | environment,
        cwd=folder.parent, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return records(folder)


def test_a_cluster_gives_the_records_of_the_basic_launcher_and_each_node_does_a_part(
    address: str, tmp_path: Path
) -> None:
    here, there = sweep(tmp_path / "basic"), sweep(tmp_path / "ray", *RAY, RAY_ADDRESS=address)
    assert len(here) == 2 and {record["status"] for record in here.values()} == {"done"}
    assert comparable(there) == comparable(here)
    nodes = [{record["config"]["tracker"]["project"] for record in each.values()} for each in (here, there)]
    assert nodes == [{"the command's"}, set(NODES)]
