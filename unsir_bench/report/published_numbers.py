"""The paper's numbers that could be verified, and whether a run is the experiment they are of.

UNSIR: Tarun, Chundawat, Mandal, Kankanhalli, "Fast Yet Effective Machine Unlearning", IEEE TNNLS 2023
(arXiv 2111.08947). No other cell of the paper's tables was verified: none may be added from memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from unsir_bench.records import RunRecord
from unsir_bench.report.conditions import PAPER

# The paper's own settings of UNSIR; the other presets are ours or later.
PRESETS = ("unsir", "unsir_notebook")
NOT_THEIRS = ("user", "tuned")  # settings of a run whose method has other values than its preset
# The original's training in the authors' notebook, with the values of conf/train/published.yaml. Which loss the plateau
# schedule reads is left out: the notebook reads the test loss, which this project avoids.
RECIPE = {
    "epochs": 40, "batch_size": 256, "optimizer": "adam", "lr": 0.01, "weight_decay": 0.0001, "schedule": "plateau",
    "plateau_factor": 0.5, "plateau_patience": 3, "label_smoothing": 0.0, "clip_value": 0.1, "clip_norm": None,
    "privacy": None, "flip": False, "crop_padding": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """One row of the paper.

    Attributes:
        dataset, model: as records name them at the paper's scale.
        classes: how many were forgotten.
        pretrained: whether the network started from ImageNet weights.
        original, unlearned: accuracies in [0, 1] by the record's field; only those that were verified.
    """

    dataset: str
    model: str
    classes: int
    pretrained: bool
    original: dict[str, float]
    unlearned: dict[str, float]
    source: str = "paper"


EXPERIMENTS = (
    Experiment(
        "cifar10", "resnet18", 1, False,
        {"acc_retain_test": 0.7786, "acc_forget_test": 0.8101}, {"acc_retain_test": 0.7106, "acc_forget_test": 0.0},
    ),
    Experiment("cifar100", "resnet18", 20, True, {"acc_retain_test": 0.7788}, {"acc_retain_test": 0.7538}),
    Experiment(
        "vggface100", "resnet18", 1, True,
        {"acc_retain_test": 0.8063}, {"acc_retain_test": 0.7229, "acc_forget_test": 0.03},
    ),
)  # fmt: skip
# Ratios of seconds; of which data set, model and forget set is not verified.
SPEEDUPS = {"speedup_vs_retrain": 154.0, "speedup_vs_fisher": 1875.0}


def experiment_of(record: RunRecord) -> Experiment | None:
    """The paper's row for this data set, network and number of forgotten classes, at whatever scale the run was.

    None for a model made elsewhere: of its training nothing is known.
    """
    model = re.sub("_(slim|tiny)$", "", record.model)
    wanted = (_pixels(record).removesuffix("_jpeg"), model, len(record.forget_classes))
    if record.checkpoints or len(record.forget_steps) > 1:
        return None
    return next((row for row in EXPERIMENTS if (row.dataset, row.model, row.classes) == wanted), None)


def _pixels(record: RunRecord) -> str:
    """The data set whose pixels a run saw: PNG copies have those of the original."""
    return record.dataset.removesuffix("_png")


def unlearned_numbers(record: RunRecord) -> Mapping[str, float]:
    """By field, the paper's numbers after UNSIR; none for other methods, or for values that the paper did not use."""
    row = experiment_of(record)
    return row.unlearned if row and has_their_values(record) else {}


def has_their_values(record: RunRecord) -> bool:
    """Whether a run is of UNSIR with the values that the paper used."""
    return record.method in PRESETS and record.settings not in NOT_THEIRS


def has_published_recipe(record: RunRecord) -> bool:
    """Whether the original was trained as in the authors' notebook; what a record does not hold counts as equal."""
    train = record.config.get("train") or {}
    known = {**train, **(train.get("augment") or {})}
    return all(known.get(name, value) == value for name, value in RECIPE.items())


def is_the_papers(record: RunRecord, scale: str) -> bool:
    """Whether a run has the scale, images, network and recipe of the paper's row: else their numbers only orient."""
    row = experiment_of(record)
    data, model = record.config.get("dataset") or {}, record.config.get("model") or {}
    return (
        row is not None
        and scale == PAPER
        and (_pixels(record), record.model) == (row.dataset, row.model)
        and not data.get("subset")
        and not data.get("validation_share")
        and bool(model.get("pretrained")) == row.pretrained
        and not model.get("weights")
        and has_published_recipe(record)
    )
