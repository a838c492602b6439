"""Fisher forgetting class after class: independent noise grows with the root of the steps, and accuracy survives it."""

from __future__ import annotations

from pathlib import Path

import pytest

from unsir_bench import compose
from unsir_bench.runner import run
from unsir_bench.training import context


def retained_accuracy(folder: Path) -> float:
    """A_Dr after four classes, one a step, at α = 1e-5; the network is the AllCNN of 4 filters, which bears that α."""
    record = run(
        compose([
            "method=fisher", "method.alpha=1e-5", "method.max_samples=200", "forget.sequence=[[0],[1],[2],[3]]",
            "model=allcnn_tiny", "model.width=4", "train=smoke", "seed=2", "metrics=fast", "retrain_reference=false",
            "tracker=none", "hardware=cpu", f"outputs={folder}", f"store.root={folder}/store",
        ])
    )  # fmt: skip
    assert record.status == "done", record.reason
    return float(record.metrics["acc_retain_test"])


def test_four_steps_keep_the_accuracy_that_the_same_noise_four_times_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    independent = retained_accuracy(tmp_path / "independent")
    monkeypatch.setattr(context, "role_in_step", lambda role, step: role)
    repeated = retained_accuracy(tmp_path / "repeated")
    assert independent > 0.85
    assert repeated < independent - 0.2
