"""A sweep on a real Slurm cluster; `make test-slurm` makes one of this machine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweep_records import comparable, records

WANTED = os.environ.get("UNSIR_BENCH_TEST_SLURM") == "1"
TINY = ["dataset.subset=15", "model.width=4", "train.epochs=3", "tracker=none", "metrics=fast"]
GRID = ["-m", "method=unsir,retrain,finetune,amnesiac", "forget=single,pair", "seed=0,1"]
NODE = [
    "hydra/launcher=slurm", "hydra.launcher.mem_gb=1", "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.timeout_min=20",
]  # fmt: skip


def has_slurm() -> bool:
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo"], capture_output=True, timeout=30, check=False).returncode == 0


@pytest.fixture(scope="module", autouse=True)
def slurm() -> None:
    if not WANTED:
        pytest.skip("`make test-slurm` runs these, on a machine where it may install Slurm")
    assert has_slurm(), "UNSIR_BENCH_TEST_SLURM=1, but `sinfo` finds no cluster"


def sweep(folder: Path, *given: str, status: int = 0) -> str:
    places = [f"outputs={folder}", f"store.root={folder}/store"]
    done = subprocess.run(
        [sys.executable, "-m", "unsir_bench", *given, *TINY, *places],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def trainings(folder: Path) -> int:
    """How many trainings of references the jobs' own logs tell of."""
    logs = [path.read_text() for path in folder.glob("*/slurm/**/*_log.*")]
    assert logs, "the jobs left no logs"
    return sum(log.count("training the original model (") + log.count("training the retrain model (") for log in logs)


def test_slurm_gives_the_records_of_the_basic_launcher_and_trains_each_model_once(tmp_path: Path) -> None:
    sweep(tmp_path / "basic", *GRID)
    printed = sweep(tmp_path / "slurm", *GRID, *NODE)
    assert "A_Df %" in printed
    wanted = comparable(records(tmp_path / "basic"))
    assert len(wanted) == 16 and {status for status, *_ in wanted.values()} == {"done"}
    assert comparable(records(tmp_path / "slurm")) == wanted
    assert trainings(tmp_path / "slurm") == 2 + 4
    assert "16 of 16 runs are finished and skipped" in sweep(tmp_path / "slurm", *GRID, *NODE)


def test_a_job_that_the_cluster_ends_is_reported_as_lost_and_the_others_complete(tmp_path: Path) -> None:
    endless = ["-m", "method=original", "seed=0,1", "train.epochs=1000000"]
    limit = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=5", "hydra.launcher.max_num_timeout=0"]
    given = [*endless, *NODE, *limit]
    places = [f"outputs={tmp_path}", f"store.root={tmp_path}/store"]
    own = [word for word in TINY if not word.startswith("train.epochs")]
    done = subprocess.run(
        [sys.executable, "-m", "unsir_bench", *given, *own, *places],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("lost: original-digits") == 2
    assert "again:  unsir-bench" in done.stdout
