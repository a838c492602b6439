"""Forget samples are told from retain samples of the same class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unsir_bench import compose, run
from unsir_bench.data.device_data import DeviceData
from unsir_bench.unlearning.marked_samples import marked, told_apart

TINY = ["dataset=digits", "dataset.subset=40", "model=allcnn_slim", "tracker=none", "metrics=fast", "hardware=cpu"]


def test_marks_are_taken_away_again(digits: DeviceData) -> None:
    view = digits.view("train", torch.arange(0, 60, 3))
    classes, forgotten = told_apart(torch.cat([view.labels, marked(view, 10).labels]), 10)
    assert torch.equal(classes, torch.cat([view.labels, view.labels]))
    assert forgotten.tolist() == [False] * 20 + [True] * 20


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("neggrad_plus", ["method.alpha=0.5", "method.train.lr=0.03"]),
        ("scrub", ["method.train.lr=0.005", "method.max_epochs=10"]),
        ("bad_teacher", ["method.train.lr=0.01", "method.train.epochs=10", "method.retain_share=1.0"]),
    ],
)
def test_random_samples_are_forgotten_where_their_classes_are_kept(
    method: str, words: list[str], tmp_path: Path
) -> None:
    places = [f"outputs={tmp_path}", f"store.root={tmp_path}/store"]
    record = run(compose([f"method={method}", "forget=random_samples", "forget.share=0.2", *TINY, *places, *words]))
    assert record.status == "done", record.error
    found = record.metrics
    assert found["acc_forget_train"] < found["acc_retain_train"] - 0.05
