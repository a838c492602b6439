"""The paper's numbers that could be verified, and whether a run is the experiment they are of.

UNSIR: Tarun, Chundawat, Mandal, Kankanhalli, "Fast Yet Effective Machine Unlearning", IEEE TNNLS 2023
(arXiv 2111.08947). No other cell of the paper's tables was verified: none may be added from memory.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unsir_bench.records import RunRecord
from unsir_bench.report.tables.table import NOT_DATA, NOT_MODEL, forget_label, settings_in_words, without

PAPER = "paper"
NOT_IN_CONDITIONS = ("hardware",)  # of the surroundings in a setting's words
# The paper's own settings of UNSIR; the other presets are ours or later.
PRESETS = ("unsir", "unsir_notebook")


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


@dataclass(frozen=True)
class Conditions:
    """What runs must share to be averaged or compared: data, network, training of the original, and device.

    Attributes:
        key: equal for runs that share all of it, whatever their method, forget set and seed.
        scale: the scale that the runs were composed at; ``not named`` for those of no scaled preset.
        words: what sets the data, the training and the device apart, for captions.
    """

    key: str
    scale: str
    words: str

    @property
    def at_paper_scale(self) -> bool:
        """Whether the runs were composed at the paper's scale."""
        return self.scale == PAPER


def labels(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Forget set and setting of each record in the words of the tables, but for what ``conditions`` tell."""
    settings = settings_in_words(records, NOT_IN_CONDITIONS)
    return [
        (forget_label(record), ", ".join(filter(None, words))) for record, words in zip(records, settings, strict=True)
    ]


def conditions(records: Sequence[RunRecord]) -> list[Conditions]:
    """The conditions of each record.

    A run that was composed without a scale has the scale of those that share all else: a sweep that is repeated under a
    scale's name keeps the runs that it finds.
    """
    keys = [_key(record) for record in records]
    named: dict[str, set[str]] = defaultdict(set)
    for key, record in zip(keys, records, strict=True):
        if record.config.get("at_scale"):
            named[key].add(str(record.config["at_scale"]))
    found = []
    for key, record in zip(keys, records, strict=True):
        own = record.config.get("at_scale") or (next(iter(named[key])) if len(named[key]) == 1 else "not named")
        found.append(Conditions(f"{own} {key}", str(own), _words(record)))
    return found


def _key(record: RunRecord) -> str:
    config = record.config
    shared: dict[str, Any] = {
        "dataset": shared_data(record),
        "model": shared_model(record),
        "train": without(config.get("train"), {"name"}),
        "precision": (config.get("hardware") or {}).get("precision"),
        "device": record.environment.get("device"),
    }
    return json.dumps(shared, sort_keys=True, default=str)


def shared_data(record: RunRecord) -> tuple[Any, ...]:
    """The data set, what decides its pixels, and its fingerprint."""
    return record.dataset, without(record.config.get("dataset"), NOT_DATA), record.fingerprints.get("data")


def shared_model(record: RunRecord) -> tuple[Any, ...]:
    """The network and what decides its architecture and initial weights."""
    return record.model, without(record.config.get("model"), NOT_MODEL)


def _words(record: RunRecord) -> str:
    data, train = record.config.get("dataset") or {}, record.config.get("train") or {}
    share = data.get("validation_share")
    words = [
        "JPEG copies of the images" if is_jpeg(record) else "",
        f"{data['subset']} images a class at most" if data.get("subset") else "",
        f"{100 * share:g} % of the training images stand for the test data" if share else "",
        f"original trained {train['epochs']} epochs" if train.get("epochs") else "",
        f"device {record.environment['device']}" if record.environment.get("device") else "",
    ]
    return ", ".join(filter(None, words))


def is_jpeg(record: RunRecord) -> bool:
    """Whether the data set's images are JPEG copies of the paper's."""
    return "jpeg" in record.dataset.lower()


def experiment_of(record: RunRecord) -> Experiment | None:
    """The paper's row for this data set, network and number of forgotten classes, at whatever scale the run was."""
    dataset, model = record.dataset.removesuffix("_jpeg"), re.sub("_(slim|tiny)$", "", record.model)
    wanted = (dataset, model, len(record.forget_classes))
    if len(record.forget_steps) > 1:
        return None
    return next((row for row in EXPERIMENTS if (row.dataset, row.model, row.classes) == wanted), None)


def is_the_papers(record: RunRecord, scale: str) -> bool:
    """Whether a run has the scale, the images and the network of the paper's row: else their numbers only orient."""
    row = experiment_of(record)
    data, model = record.config.get("dataset") or {}, record.config.get("model") or {}
    return (
        row is not None
        and scale == PAPER
        and (record.dataset, record.model) == (row.dataset, row.model)
        and not data.get("subset")
        and not data.get("validation_share")
        and bool(model.get("pretrained")) == row.pretrained
    )
