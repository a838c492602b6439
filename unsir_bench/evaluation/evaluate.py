"""The evaluation of one run: every metric of the chosen preset, for the unlearned model and for its references.

Each model is measured alike, under its own prefix: the unlearned model (no prefix), the original (``original_``), the
retrained one (``retrain_``) and a second retrained one with another training seed (``floor_``). What the references
score is kept in the store, since it is the same for every method. A metric that is undefined is null, with the reason
in ``notes``; the others still come out. docs/metrics.md lists all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from unsir_bench.config_fields import identity, not_hashed, number
from unsir_bench.data.device_data import SPLITS, DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.grad_cam import grad_cam
from unsir_bench.evaluation.metrics.accuracy import per_class_accuracies, retain_forget_accuracies
from unsir_bench.evaluation.metrics.feature_probe import knn_auc, knowledge_retention, linear_probe_auc
from unsir_bench.evaluation.metrics.membership import (
    class_matched_loss_attack,
    confidence_svc_attack,
    lira_offline_attack,
)
from unsir_bench.evaluation.metrics.output_distance import activation_distances, js_divergence, zrf, zrf_legacy
from unsir_bench.evaluation.metrics.prediction_distribution import (
    largest_share,
    normalised_entropy,
    prediction_distribution,
    total_variation,
)
from unsir_bench.evaluation.metrics.summary_scores import nomus, tug_of_war
from unsir_bench.evaluation.metrics.weight_distance import weight_distance
from unsir_bench.evaluation.relearning import RelearnConfig, anamnesis_index, relearn
from unsir_bench.models.model import state_to_cpu
from unsir_bench.references.trained_models import ReferenceModels, TrainedModel
from unsir_bench.training.context import RunContext
from unsir_bench.training.inference import outputs_of_splits, predict
from unsir_bench.versions import EVALUATION_VERSION

LOG = logging.getLogger("unsir_bench")

Values = dict[str, float | int | None]
# Fields whose difference to the retrained model's is given as gap_<field>.
COMPARED = (
    *(f"acc_{kind}_{split}" for split in ("test", "train") for kind in ("retain", "forget")),
    "forget_prediction_entropy",
    "zrf",
    "mia_loss_accuracy",
    "mia_svc_member_share",
    "probe_linear_auc",
    "probe_knn_auc",
    "retention_forget_accuracy",
)


@dataclass
class MetricsConfig:
    """Which metrics are computed; `conf/metrics` comments each key."""

    name: str = not_hashed("standard")
    outputs: bool = True
    weights: bool = True
    membership: bool = True
    features: bool = True
    relearn: RelearnConfig = field(default_factory=RelearnConfig)
    floor: bool = True
    lira_shadows: int = number(0, at_least=0)
    grad_cam_samples: int = number(0, at_least=0)

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        if self.lira_shadows == 1:
            yield f"{key}.lira_shadows=1: a spread needs at least 2 shadow models; 0 leaves the attack out"


@dataclass
class Measurements:
    """What was measured.

    Attributes:
        values: metrics by field name; null where undefined.
        notes: for each null, why.
        details: what is no single number: curves, distributions, layers, accuracies by class.
        seconds: spent on each group of metrics.
    """

    values: Values = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, group: str, names: tuple[str, ...], compute: Callable[[], Values]) -> None:
        """Add what ``compute`` gives for the fields ``names``, or null for each, with the reason."""
        started = time.perf_counter()
        try:
            self.values |= compute()
        except MetricUnavailable as reason:
            self.values |= dict.fromkeys(names)
            self.notes |= dict.fromkeys(names, str(reason))
        self.seconds[group] = self.seconds.get(group, 0.0) + time.perf_counter() - started

    def prefixed(self, prefix: str) -> Measurements:
        """The same under other names."""
        return Measurements(
            {prefix + name: value for name, value in self.values.items()},
            {prefix + name: reason for name, reason in self.notes.items()},
            {prefix + name: value for name, value in self.details.items()},
        )

    def join(self, other: Measurements) -> None:
        """Take in another's values, notes and details; its seconds are its own."""
        self.values |= other.values
        self.notes |= other.notes
        self.details |= other.details


@dataclass(frozen=True)
class Subject:
    """A model to be measured: what it says of all samples, its weights, and how to get a network of it."""

    logits: Mapping[str, Tensor]
    features: Mapping[str, Tensor] | None
    weights: Mapping[str, Tensor]
    network: Callable[[], nn.Module]


@dataclass
class Evaluation:
    """Measures models of one run.

    Attributes:
        config: what to measure.
        data: the data set.
        split: retain and forget samples.
        context: device and seeds.
        references: the store's models.
        original: as trained.
        retrained: the gold standard; None leaves out what is relative to it.
    """

    config: MetricsConfig
    data: DeviceData
    split: ForgetSplit
    context: RunContext
    references: ReferenceModels
    original: TrainedModel
    retrained: TrainedModel | None

    def of(self, model: nn.Module) -> Measurements:
        """Measure the unlearned ``model`` and all that it is compared with."""
        measured = self._measured(self._subject_of(model), "unlearned")
        for prefix, trained in self._compared_with():
            measured.join(self._of_reference(prefix, trained))
        self._add_comparisons(measured)
        return measured

    def _compared_with(self) -> Iterator[tuple[str, TrainedModel]]:
        yield "original_", self.original
        if self.retrained is not None:
            yield "retrain_", self.retrained
            if self.config.floor:
                yield "floor_", self.references.second_retrain(self.split, self.context)

    def _subject_of(self, model: nn.Module) -> Subject:
        found = outputs_of_splits(model, self.data, self.context, "the unlearned model")
        features = {name: each.features for name, each in found.items() if each.features is not None}
        logits = {name: each.logits for name, each in found.items()}
        return Subject(logits, features or None, state_to_cpu(model), lambda: model)

    def _subject(self, trained: TrainedModel) -> Subject:
        features = self.references.features(trained, self.context) if self.config.features else None
        return Subject(
            trained.logits, features, trained.weights, lambda: self.references.network(trained, self.context)
        )

    def _of_reference(self, prefix: str, trained: TrainedModel) -> Measurements:
        description = {
            "version": EVALUATION_VERSION,
            "role": prefix,
            "model": trained.key,
            "original": self.original.key,
            "retrained": self.retrained.key if self.retrained else None,
            "split": self.split.fingerprint,
            "metrics": identity(self.config),
            "seed": self.context.seed,
        }

        def compute() -> dict[str, Any]:
            found = self._measured(self._subject(trained), prefix)
            return {"values": found.values, "notes": found.notes, "details": found.details}

        if not self._costly:
            return self._measured(self._subject(trained), prefix).prefixed(prefix)
        kept = self.references.remembered(f"evaluation of {prefix}", description, compute, self.context)
        return Measurements(kept["values"], kept["notes"], kept["details"]).prefixed(prefix)

    @property
    def _costly(self) -> bool:
        """Whether measuring a model takes more than reading its stored logits."""
        config = self.config
        chosen = (config.outputs, config.weights, config.membership, config.features)
        return any(chosen) or config.lira_shadows > 0 or config.relearn.cap > 0

    def _measured(self, subject: Subject, role: str) -> Measurements:
        """All chosen metrics of one model."""
        found = Measurements()
        self._add_accuracies(found, subject)
        if self.config.outputs:
            self._add_predictions(found, subject)
            self._add_output_distances(found, subject, to_retrain=role != "retrain_")
        if self.config.weights:
            self._add_weight_distances(found, subject, role)
        if self.config.membership:
            self._add_membership(found, subject)
        if self.config.features:
            self._add_feature_probes(found, subject)
        if self.config.lira_shadows:
            self._add_lira(found, subject)
        if self.config.relearn.cap:
            self._add_relearning(found, subject)
        return found

    def _labels(self, name: str) -> Tensor:
        """Labels of ``retain_train`` and so on."""
        return self._label_tensors[name.rsplit("_", 1)[1]][self.split.indices[name]]

    @cached_property
    def _label_tensors(self) -> dict[str, Tensor]:
        return {name: self.data.labels(name) for name in SPLITS}

    def _part(self, tensors: Mapping[str, Tensor], name: str) -> Tensor:
        """The rows of ``retain_train`` and so on."""
        return tensors[name.rsplit("_", 1)[1]][self.split.indices[name]]

    def _add_accuracies(self, found: Measurements, subject: Subject) -> None:
        labels = self._label_tensors
        names = tuple(f"acc_{name}" for name in self.split.indices)
        found.add("accuracy", names, lambda: dict(retain_forget_accuracies(subject.logits, labels, self.split.indices)))
        found.details["accuracy_by_class"] = {
            split: per_class_accuracies(subject.logits[split], labels[split], self.data.num_classes) for split in SPLITS
        }

    def _add_predictions(self, found: Measurements, subject: Subject) -> None:
        names = ("forget_prediction_entropy", "forget_prediction_largest_share", "forget_prediction_tv_to_retrain")

        def compute() -> Values:
            shares = prediction_distribution(self._part(subject.logits, "forget_test"), self._retain_classes)
            found.details["forget_predictions"] = shares.tolist()
            result: Values = {names[0]: normalised_entropy(shares), names[1]: largest_share(shares)}
            if self.retrained is not None:
                theirs = prediction_distribution(self._part(self.retrained.logits, "forget_test"), self._retain_classes)
                result[names[2]] = total_variation(shares, theirs)
            return result

        found.add("prediction distribution", names, compute)

    @property
    def _retain_classes(self) -> tuple[int, ...]:
        return tuple(index for index in range(self.data.num_classes) if index not in self.split.classes)

    def _add_output_distances(self, found: Measurements, subject: Subject, *, to_retrain: bool) -> None:
        for kind in ("forget", "retain"):
            names = tuple(f"{name}_to_retrain_{kind}" for name in ("js", "activation_l1", "activation_l2"))
            if to_retrain and self.retrained is not None:
                theirs = self._part(self.retrained.logits, f"{kind}_test")
                own = self._part(subject.logits, f"{kind}_test")
                found.add("output distance", names, lambda n=names, o=own, t=theirs: _output_distances(n, o, t))  # type: ignore[misc]
        forgotten = self._part(subject.logits, "forget_test")
        found.add(
            "zrf",
            ("zrf", "zrf_legacy"),
            lambda: {
                "zrf": zrf(forgotten, self._random_logits),
                "zrf_legacy": zrf_legacy(forgotten, self._random_logits),
            },
        )

    @cached_property
    def _random_logits(self) -> Tensor:
        """What a network that never trained says of the forget test samples."""
        view = self.data.view("test", self.split.forget_test)
        return predict(self.context.random_network("zrf"), view, self.context, "a random network")

    def _add_weight_distances(self, found: Measurements, subject: Subject, role: str) -> None:
        others = {"original": self.original, "retrain": self.retrained}
        for name, other in others.items():
            if other is None or role == f"{name}_":
                continue
            names = tuple(f"weight_distance_to_{name}_{kind}" for kind in ("sum", "mean", "relative"))
            found.add("weight distance", names, lambda n=names, o=other: self._weight_distance(found, subject, n, o))  # type: ignore[misc]

    def _weight_distance(
        self, found: Measurements, subject: Subject, names: tuple[str, ...], other: TrainedModel
    ) -> Values:
        distance = weight_distance(subject.weights, other.weights, self._parameter_names)
        found.details[names[0].removesuffix("_sum")] = {
            "layers": dict(distance.layers),
            "batchnorm_statistics": dict(distance.statistics),
        }
        return dict(zip(names, (distance.total, distance.mean, distance.relative), strict=True))

    @cached_property
    def _parameter_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.context.initial_network().named_parameters())

    def _add_membership(self, found: Measurements, subject: Subject) -> None:
        def by_loss() -> Values:
            attack = class_matched_loss_attack(
                self._part(subject.logits, "forget_train"),
                self._labels("forget_train"),
                self._part(subject.logits, "forget_test"),
                self._labels("forget_test"),
                seed=self.context.seed,
            )
            return {"mia_loss_accuracy": attack.accuracy, "mia_loss_auc": attack.auc}

        def by_confidence() -> Values:
            names = ("retain_train", "retain_test", "forget_train")
            parts = [part for name in names for part in (self._part(subject.logits, name), self._labels(name))]
            return {"mia_svc_member_share": confidence_svc_attack(*parts, seed=self.context.seed)}

        found.add("membership, loss", ("mia_loss_accuracy", "mia_loss_auc"), by_loss)
        found.add("membership, confidence", ("mia_svc_member_share",), by_confidence)

    def _add_feature_probes(self, found: Measurements, subject: Subject) -> None:
        train, test = self._label_tensors["train"], self._label_tensors["test"]
        seed = self.context.seed

        def features() -> Mapping[str, Tensor]:
            if subject.features is None:
                raise MetricUnavailable("the model has no head whose input could be read as features")
            return subject.features

        def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[int, ...]]:
            own = features()
            return own["train"], train, own["test"], test, self.split.classes

        def retention() -> Values:
            scores = knowledge_retention(*inputs(), seed=seed)
            return {
                "retention_forget_accuracy": scores.forget_accuracy,
                "retention_retain_accuracy": scores.retain_accuracy,
            }

        found.add(
            "linear probe", ("probe_linear_auc",), lambda: {"probe_linear_auc": linear_probe_auc(*inputs(), seed=seed)}
        )
        found.add("kNN probe", ("probe_knn_auc",), lambda: {"probe_knn_auc": knn_auc(*inputs(), seed=seed)})
        found.add("retention probe", ("retention_forget_accuracy", "retention_retain_accuracy"), retention)

    def _add_lira(self, found: Measurements, subject: Subject) -> None:
        def compute() -> Values:
            members, others = (self._part(subject.logits, f"forget_{split}") for split in ("train", "test"))
            shadows = [
                torch.stack([self._part(shadow.logits, f"forget_{split}") for shadow in self._shadows])
                for split in ("train", "test")
            ]
            attack = lira_offline_attack(
                members, self._labels("forget_train"), others, self._labels("forget_test"), shadows[0], shadows[1]
            )
            return {"lira_auc": attack.auc, "lira_tpr_at_1_percent_fpr": attack.tpr_at_1_percent_fpr}

        found.add("membership, LiRA", ("lira_auc", "lira_tpr_at_1_percent_fpr"), compute)

    @cached_property
    def _shadows(self) -> list[TrainedModel]:
        """Retrained models of other training seeds: none saw a forget sample."""
        if self.retrained is None:
            raise MetricUnavailable("there is no retrained model, and shadow models are made like it")
        count = self.config.lira_shadows
        seconds = count * self.retrained.seconds
        LOG.info("LiRA needs %d shadow models: up to %.0f s of training for those not in the store", count, seconds)
        seeds = range(self.context.seed + 1, self.context.seed + 1 + count)
        return [self.references.retrained(self.split, self.context.of_another_seed(seed)) for seed in seeds]

    def _add_relearning(self, found: Measurements, subject: Subject) -> None:
        names = ("relearn_batches", "relearn_epochs", "relearn_censored")

        def compute() -> Values:
            result = relearn(
                subject.network(),
                self.data.view("train"),
                self.data.view("test", self.split.forget_test),
                self._original_forget_accuracy,
                self.references.recipe,
                self.config.relearn,
                self.context,
            )
            found.details["relearn_curve"] = [list(point) for point in result.curve]
            return dict(zip(names, (result.batches, result.epochs, int(result.batches is None)), strict=True))

        found.add("relearn time", names, compute)

    @cached_property
    def _original_forget_accuracy(self) -> float:
        accuracies = retain_forget_accuracies(self.original.logits, self._label_tensors, self.split.indices)
        value = accuracies["acc_forget_test"]
        if value is None:
            raise MetricUnavailable("there is no forget sample in the test split")
        return value

    def _add_comparisons(self, found: Measurements) -> None:
        """Gaps to retrain, the floor's own gaps, and the scores made of several metrics."""
        values = found.values
        for prefix in ("", "floor_"):
            for name in COMPARED:
                own, theirs = values.get(prefix + name), values.get(f"retrain_{name}")
                if own is not None and theirs is not None:
                    values[f"{prefix}gap_{name}"] = own - theirs
        if self.config.relearn.cap and self.retrained is not None:
            found.add("scores", ("anamnesis_index",), lambda: {"anamnesis_index": _anamnesis(values)})
        if self.retrained is not None:
            found.add("scores", ("tow",), lambda: {"tow": _tug_of_war(values)})
        if self.config.membership:
            found.add("scores", ("nomus",), lambda: {"nomus": _nomus(values)})

    def grad_cam_maps(self, model: nn.Module) -> dict[str, Tensor]:
        """Maps of the first forget test samples for their own class, by model, with the sample ids and pixels."""
        chosen = self.split.forget_test[: self.config.grad_cam_samples]
        images, labels = self.data.view("test", chosen).fetch(torch.arange(len(chosen)))
        models: dict[str, Callable[[], nn.Module]] = {
            "unlearned": lambda: model,
            "original": lambda: self.references.network(self.original, self.context),
        }
        if self.retrained is not None:
            trained = self.retrained
            models["retrain"] = lambda: self.references.network(trained, self.context)
        maps = {name: grad_cam(build(), images, labels) for name, build in models.items()}
        return {"samples": chosen, "labels": labels.cpu(), "images": images.cpu().contiguous(), **maps}


def _output_distances(names: tuple[str, ...], own: Tensor, theirs: Tensor) -> Values:
    return dict(zip(names, (js_divergence(own, theirs), *activation_distances(own, theirs)), strict=True))


def _known(values: Values, *names: str) -> list[float]:
    found = [values.get(name) for name in names]
    missing = [name for name, value in zip(names, found, strict=True) if value is None]
    if missing:
        raise MetricUnavailable(f"needs {', '.join(missing)}, which this run does not have")
    return [float(value) for value in found if value is not None]


def _anamnesis(values: Values) -> float:
    names = ("relearn_batches", "retrain_relearn_batches")
    own, theirs = (values.get(name) for name in names)
    return anamnesis_index(own, theirs)  # type: ignore[arg-type]


def _tug_of_war(values: Values) -> float:
    names = ("acc_forget_train", "acc_retain_train", "acc_retain_test")
    own, theirs = (_known(values, *(prefix + name for name in names)) for prefix in ("", "retrain_"))
    return tug_of_war(own, theirs)


def _nomus(values: Values) -> float:
    accuracy, attack = _known(values, "acc_retain_test", "mia_loss_accuracy")
    return nomus(accuracy, attack)
