"""What forgets nothing and answers with no forgotten class is found out: logit_mask and head_distillation on digits.

Of two classes, and by what `test_evaluate.py` does not hold the controls to: the margin up to which gaps count as none,
what the forgotten samples are taken for, and relearning.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from unsir_bench import compose
from unsir_bench.records import RunRecord
from unsir_bench.report.margins import read_margins
from unsir_bench.report.relearn_curve import summarise
from unsir_bench.runner import run

CONTROLS = ("logit_mask", "head_distillation")
OVERRIDES = [
    "dataset=digits", "dataset.subset=100", "model=allcnn_slim", "model.width=8", "train=small", "train.epochs=10",
    "forget=pair", "seed=0", "hardware=cpu", "hardware.threads=1", "tracker=none", "metrics=standard",
    "metrics.floor=false", "metrics.membership=false", "metrics.weights=false", "metrics.relearn.cap=30",
    "save_model=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunRecord]]:
    folder = tmp_path_factory.mktemp("controls")
    places = [f"outputs={folder}", f"store.root={folder}/store"]
    yield {name: run(compose([*OVERRIDES, *places, f"method={name}"])) for name in CONTROLS}


@pytest.mark.slow
@pytest.mark.parametrize("method", CONTROLS)
def test_a_control_lies_beyond_the_margin_and_betrays_what_it_masks(method: str, records: dict[str, RunRecord]) -> None:
    record = records[method]
    assert record.status == "done", record.reason
    metrics = {name: float(value) for name, value in record.metrics.items() if value is not None}
    # A new head on the same features is better than on retraining's.
    margin = read_margins()["retention_forget_accuracy"].margin
    assert metrics["gap_retention_forget_accuracy"] > 2 * margin
    # What the forgotten samples are taken for betrays a mask, too: the original's second choices, not retraining's.
    assert metrics["forget_prediction_tv_to_retrain"] > 0.2


@pytest.mark.slow
def test_relearning_unmasks_head_distillation_and_not_a_mask(records: dict[str, RunRecord]) -> None:
    """A mask is never relearned: the logits that it subtracts from are out of reach."""

    def area(record: RunRecord, prefix: str = "") -> float:
        original = float(record.metrics["original_acc_forget_test"] or 0)
        retrained = record.details["retrain_relearn_curve"]
        return summarise(record.details[f"{prefix}relearn_curve"], original, retrained).area

    distilled = records["head_distillation"]
    assert area(distilled) > 0.5 > 2 * area(distilled, "retrain_")
    assert area(records["logit_mask"]) == 0
