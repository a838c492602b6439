"""`unsir-bench train`: both reference models of a run, side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unsir_bench.records import RunRecord

WORDS = ["dataset=digits", "dataset.subset=20", "train.epochs=1", "metrics=fast", "tracker=none", "hardware=cpu"]


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "unsir_bench", *words, f"outputs={folder}", f"store.root={folder}/store"]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_both_models_are_trained_and_a_run_then_finds_them(tmp_path: Path) -> None:
    trained = command(tmp_path, "train", *WORDS)
    assert trained.returncode == 0, trained.stderr
    assert "training the original model" in trained.stderr and "training the retrain model" in trained.stderr
    ran = command(tmp_path, *WORDS)
    assert ran.returncode == 0 and "training the" not in ran.stdout + ran.stderr
    [record] = [RunRecord.read(path) for path in tmp_path.glob("runs/*/record.json")]
    assert record.metrics["retrain_seconds"] is not None


@pytest.mark.slow
def test_the_default_method_need_not_suit_the_forget_set(tmp_path: Path) -> None:
    """UNSIR, the default, forgets whole classes."""
    trained = command(tmp_path, "train", *WORDS, "forget=random_samples")
    assert trained.returncode == 0, trained.stderr
    diverged = command(tmp_path, "train", *WORDS, "train.lr=1e30", "train.clip_value=null", "train.clip_norm=null")
    assert diverged.returncode == 1 and "model was not trained: " in diverged.stderr
    assert "Traceback" not in diverged.stderr


def test_a_mistake_is_named_and_nothing_is_trained(tmp_path: Path) -> None:
    done = command(tmp_path, "train", "train.lr=0", "forget.classes=[11]", *WORDS)
    assert done.returncode == 1 and "train.lr=0" in done.stderr and "11 is no class" in done.stderr
    assert not (tmp_path / "store").exists()


def test_help_is_asked_for_like_that_of_any_run(tmp_path: Path) -> None:
    done = command(tmp_path, "train", "--help")
    assert done.returncode == 0 and "train ..." in done.stdout
