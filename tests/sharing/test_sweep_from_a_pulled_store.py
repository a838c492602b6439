"""A store that was pulled lets a sweep run without a single training, and to the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweep_records import comparable, records
from tests.wandb_server import FakeWandb, serving
from unsir_bench import compose, run
from unsir_bench.cli.main import _status

METHODS = ("unsir_slim", "retrain", "amnesiac_subtract")
OVERRIDES = [
    "dataset=digits", "dataset.subset=20", "model=allcnn_tiny", "train=smoke", "train.epochs=2", "forget=single",
    "hardware=cpu", "hardware.threads=1", "tracker=none", "metrics=fast", "sweep=shared",
]  # fmt: skip
TRAINING = "training the "  # begins what the log says of each training, of the log's second one too


def sweep(outputs: Path, store: Path) -> dict[str, object]:
    """Run the methods; all results but times."""
    for method in METHODS:
        run(compose([*OVERRIDES, f"method={method}", f"outputs={outputs}", f"store.root={store}"]))
    return comparable(records(outputs))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A folder with the store and the records of a sweep, and its results."""
    outputs = tmp_path_factory.mktemp("trained")
    return outputs, sweep(outputs, outputs / "store")


def with_wandb(server: FakeWandb, *words: str) -> None:
    """`unsir-bench store ...` in a process of its own: W&B keeps the first settings that a process saw."""
    environment = {"WANDB_BASE_URL": server.address, "WANDB_API_KEY": "k" * 40, "WANDB_MODE": "online"}
    done = subprocess.run(
        [sys.executable, "-m", "unsir_bench", "store", *words],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "k" * 40 not in done.stdout + done.stderr


@pytest.fixture
def server() -> Iterator[FakeWandb]:
    with serving() as fake:
        yield fake


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tar", "folder", "wandb"])
def test_a_pulled_store_lets_a_sweep_run_without_training(
    kind: str,
    trained: tuple[Path, dict[str, object]],
    server: FakeWandb,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    outputs, results = trained
    place = {"tar": tmp_path / "a.tar", "folder": tmp_path / "a", "wandb": "wandb:team/project/models"}[kind]
    for words in (
        ["push", f"{place}", f"--store={outputs}/store", f"--records={outputs}"],
        ["pull", f"{place}", f"--store={tmp_path}/store", f"--records={tmp_path}/pulled"],
    ):
        if kind == "wandb":
            with_wandb(server, *words)
        else:
            assert _status(["store", *words]) == 0
    caplog.set_level("INFO")
    assert sweep(tmp_path / "again", tmp_path / "store") == results
    assert TRAINING not in caplog.text
    assert comparable(records(tmp_path / "pulled")) == results
    caplog.clear()
    assert sweep(tmp_path / "pulled", tmp_path / "none") == results  # pulled records are finished runs
    assert not (tmp_path / "none").exists() and caplog.text.count("is finished") == len(METHODS)
    assert bool(server.artifacts) == (kind == "wandb")
