"""The evaluation of one run: every metric of the chosen preset, for the unlearned model and for its references.

Each model is measured alike, under its own prefix: the unlearned model (no prefix), the original (``original_``), the
retrained one (``retrain_``) and a second retrained one with another training seed (``floor_``). What the references
score is kept in the store, since it is the same for every method. A metric that is undefined is null, with the reason
in ``notes``; the others still come out. docs/metrics.md lists all; ``registry`` says how to add one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from unsir_bench.config_fields import hashed_if_not_default, identity, not_hashed, number
from unsir_bench.errors import Diverged, MetricUnavailable
from unsir_bench.evaluation.grad_cam import grad_cam
from unsir_bench.evaluation.metric_inputs import EvaluatedRun, MeasuredModel, MetricInputs
from unsir_bench.evaluation.metrics.forgetting_quality import LEAST_MODELS
from unsir_bench.evaluation.registry import Metric, Scores, cards, registered
from unsir_bench.evaluation.relearning import RelearnConfig
from unsir_bench.models.model import state_to_cpu
from unsir_bench.references.store import all_finite
from unsir_bench.references.trained_models import TrainedModel
from unsir_bench.runtime.extras import install_words
from unsir_bench.runtime.strict_json import in_words, parsed, plain
from unsir_bench.training.inference import features_of, outputs_of_splits, predict_splits
from unsir_bench.versions import EVALUATION_VERSION

READ_FEATURES = ("features", "verification")  # of the unlearned model, by the key that turns a metric on
OF_OTHER_SEEDS = ("lira_shadows", "bank_size")  # what reads retrained models of other seeds
Features = Callable[[], dict[str, Tensor] | None]


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
    bank_size: int = hashed_if_not_default(number(0, at_least=0))
    collateral: bool = hashed_if_not_default(False)
    verification: bool = hashed_if_not_default(False)

    @classmethod
    def recorded(cls, values: Mapping[str, Any]) -> MetricsConfig:
        """From the plain values of a record.

        Raises:
            ValueError: they are of metrics that this code does not have.
        """
        try:
            return cls(**{**values, "relearn": RelearnConfig(**values["relearn"])})
        except (TypeError, LookupError) as error:
            raise ValueError(f"its metrics are not those of this code: {error}") from error

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        if self.lira_shadows == 1:
            yield f"{key}.lira_shadows=1: a spread needs at least 2 shadow models; 0 leaves the attack out"
        if 0 < self.bank_size < LEAST_MODELS:
            yield f"{key}.bank_size={self.bank_size}: needs at least {LEAST_MODELS} models; 0 leaves the bank out"
        if self.grad_cam_samples and find_spec("pytorch_grad_cam") is None:
            yield (
                f"{key}.grad_cam_samples={self.grad_cam_samples}: grad-cam is not installed; "
                f"{install_words('report')}, or set 0"
            )

    def turned_on(self) -> list[Metric]:
        """The registered metrics that are to be computed."""
        return [metric for metric in registered() if self.setting(metric)]

    def setting(self, metric: Metric) -> Any:
        """What decides a metric's value; false where it is turned off."""
        on = {**vars(self), "relearn": self.relearn if self.relearn.cap else 0, "always": True}
        return on[metric.when]

    def joined(self, wanted: MetricsConfig) -> MetricsConfig:
        """The metrics of both; where both have one with other settings, with those of ``wanted``."""
        switches = (
            "outputs", "weights", "membership", "features", "floor", "lira_shadows", "grad_cam_samples", "bank_size",
            "collateral", "verification",
        )  # fmt: skip
        either = {name: getattr(wanted, name) or getattr(self, name) for name in switches}
        return replace(wanted, relearn=wanted.relearn if wanted.relearn.cap else self.relearn, **either)


@dataclass
class Measurements:
    """What was measured.

    Attributes:
        values: metrics by field name; null where undefined.
        notes: for each null, why.
        details: what is no single number: curves, distributions, layers, accuracies by class.
        seconds: spent on each group of metrics of the unlearned model, on ``inference``, and on all metrics of
            ``references`` that were not found in the store.
    """

    values: dict[str, float | int | None] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, metric: Metric, inputs: MetricInputs) -> None:
        """Add what a metric gives, or null for each of its fields, with the reason.

        Raises:
            TypeError: it gives something else than numbers; names the metric.
        """
        started = time.perf_counter()
        try:
            given = metric.compute(inputs)
            found = _by_name(metric, given)
            if (name := metric.taken_detail(found, self.details)) is not None:  # hours of unlearning are not lost
                raise MetricUnavailable(
                    f"the metric {metric.group} gives a detail {name}: a taken name; give it another"
                )
        except MetricUnavailable as reason:
            found = dict.fromkeys(metric.fields)
            unnamed = [] if metric.shipped else [metric.group]
            self.notes |= dict.fromkeys(metric.fields or unnamed, str(reason))
        absent = [] if metric.shipped else [name for name in metric.fields if name not in found]
        self.notes |= dict.fromkeys(absent, f"the metric {metric.group} does not give it")
        found = {**dict.fromkeys(absent), **found}
        for card in metric.cards:
            if found.get(card.field, 0) is None:
                self.notes.setdefault(card.field, card.why_null)
        for name, value in found.items():
            (self.values if name in metric.fields else self.details)[name] = _recordable(name, value, metric)
        self.seconds[metric.group] = self.seconds.get(metric.group, 0.0) + time.perf_counter() - started

    def join(self, other: Measurements, prefix: str = "") -> None:
        """Take in another's values, notes and details under a prefix; its seconds are its own."""
        for own, theirs in ((self.values, other.values), (self.notes, other.notes), (self.details, other.details)):
            own |= {prefix + name: value for name, value in theirs.items()}


def _by_name(metric: Metric, given: float | Scores) -> Scores:
    if isinstance(given, Mapping):
        return given
    if len(metric.fields) != 1:
        fields = f"has the fields {', '.join(metric.fields)}" if metric.fields else "has no field"
        raise MetricUnavailable(
            f"the metric {metric.group} gives a single value and {fields}; let it give a mapping by name"
        )
    return {metric.fields[0]: given}


def _recordable(name: str, value: Any, metric: Metric) -> Any:
    try:
        result = plain(value)
        if name in metric.fields and not (result is None or isinstance(result, int | float)):
            raise TypeError(f"a value of type {type(result).__name__}, which is no number")
        parsed(json.dumps(in_words(result)).encode())
    except (TypeError, ValueError) as error:
        raise TypeError(f"the metric of {', '.join(metric.fields)} gives for {name} {error}") from error
    return result


def _is_told(metric: Metric, known: Mapping[str, float | int | None]) -> bool:
    """Whether what is known of a model holds what a metric would give; a summary of another package is given anew."""
    if metric.summary:
        return metric.shipped and all(known.get(name) is not None for name in metric.fields)
    # Without a retrained model some give only a part of their fields; one may be there by now.
    return bool(metric.fields) and known.keys() >= set(metric.fields)


@dataclass
class Evaluation(EvaluatedRun):
    """Measures models of one run."""

    _reference_seconds: float = field(default=0.0, init=False, repr=False)

    def of(self, model: nn.Module, known: Mapping[str, float | int | None] | None = None) -> Measurements:
        """Measure the unlearned ``model`` and all that it is compared with.

        Args:
            model: on the run's device.
            known: what was measured of it before: a metric of which all fields are there is not measured again, nor is
                one of our own that summarises others and has all of its numbers.

        Raises:
            Diverged: a logit of ``model`` is NaN or infinite.
        """
        started = time.perf_counter()
        metrics, known = self.config.turned_on(), known or {}
        logits, features = self._outputs(model, metrics)
        if not all_finite(logits):  # the largest of NaN is the first class: its accuracy would be 100 %
            raise Diverged(
                "evaluation", sum(self.context.steps.values()), float("nan"), "a logit of the unlearned model"
            )
        unlearned = MeasuredModel(logits, state_to_cpu(model), lambda: model, features)
        inference = time.perf_counter() - started
        told = [metric for metric in metrics if _is_told(metric, known)]
        measured = self._measured(unlearned, "", [metric for metric in metrics if metric not in told])
        measured.seconds["inference"] = inference
        own = {name for metric in told for name in metric.fields}
        measured.values = {name: known[name] for name in known if name in own} | measured.values
        for name, trained in self._references():
            measured.join(self._of_reference(name, trained, metrics), f"{name}_")
        if self.retrained is not None and self.config.floor:
            self._add_floor(measured, metrics)
        measured.values |= _gaps(measured.values)
        for metric in metrics:
            if metric.summary and metric not in told and self._applies(metric, ""):
                measured.add(metric, MetricInputs(self, unlearned, measured.values))
        measured.seconds["references"] = self._reference_seconds
        return measured

    def _outputs(self, model: nn.Module, metrics: Iterable[Metric]) -> tuple[dict[str, Tensor], Features]:
        """Logits by split, and what gives the features: of the same pass where a metric of ours reads them."""
        title = "the unlearned model"
        if not any(metric.when in READ_FEATURES for metric in metrics):
            logits = predict_splits(model, self.data, self.context, title)
            return logits, lambda: features_of(outputs_of_splits(model, self.data, self.context, title))
        parts = outputs_of_splits(model, self.data, self.context, title)
        return {name: part.logits for name, part in parts.items()}, lambda: features_of(parts)

    def _references(self) -> Iterator[tuple[str, TrainedModel]]:
        yield "original", self.original
        if self.retrained is not None:
            yield "retrain", self.retrained

    def _add_floor(self, measured: Measurements, metrics: Iterable[Metric]) -> None:
        """Add what the model retrained with the next training seed scores; nulls with the reason where it is not there.

        A sweep over consecutive seeds trains it anyway. The distance of two retrained models is the floor of gaps.
        """
        try:
            floor = self.retrained_with(self.context.seed + 1)
        except MetricUnavailable as reason:
            names = [f"floor_{name}" for metric in metrics if not metric.summary for name in metric.fields
                     if self._applies(metric, "floor")]  # fmt: skip
            measured.values |= dict.fromkeys(names)
            measured.notes |= dict.fromkeys(names, str(reason))
        else:
            measured.join(self._of_reference("floor", floor, metrics), "floor_")

    def _of_reference(self, name: str, trained: TrainedModel, metrics: Iterable[Metric]) -> Measurements:
        """What a reference scores; kept in the store where our own metrics take longer than reading it."""
        model = MeasuredModel(
            trained.logits,
            trained.weights,
            lambda: self.references.network(trained, self.context),
            lambda: self.references.features(trained, self.context),
        )
        scored = Measurements()
        switches = dict.fromkeys(metric.when for metric in metrics if metric.shipped)
        for when in switches:
            scored.join(
                self._of_switch(when, name, trained, model, [m for m in metrics if m.shipped and m.when == when])
            )
        scored.join(self._measured(model, name, [metric for metric in metrics if not metric.shipped]))
        return scored

    def _of_switch(
        self, when: str, name: str, trained: TrainedModel, model: MeasuredModel, metrics: Sequence[Metric]
    ) -> Measurements:
        """What the metrics that one key turns on give for a reference: an entry of its own, whatever the other keys."""
        of_others = when in OF_OTHER_SEEDS and self.retrained is not None
        # Shadows that are missing here may be there in a later run, which must not find these nulls in the store.
        if when == "always" or (of_others and not self.trains_others):
            return self._measured(model, name, metrics)
        setting = self.config.setting(metrics[0])
        description = {
            "version": EVALUATION_VERSION,
            "role": f"{name}_",
            "model": trained.key,
            "original": self.original.key,
            "retrained": self.retrained.key if self.retrained else None,
            "weights": [each.fingerprint for each in (trained, self.original, self.retrained) if each is not None],
            "split": self.split.fingerprint,
            "metrics": {when: identity(setting)},
            "seed": self.context.seed,
            # The same samples under another request are measured otherwise.
            **{name: value for name, value in self.beyond_the_split.items() if value},
            **({"other retrained models": self._others(setting)} if of_others else {}),
        }

        def compute() -> dict[str, Any]:
            found = vars(self._measured(model, name, metrics))
            return {kind: found[kind] for kind in ("values", "notes", "details")}

        kept = self.references.remembered(f"evaluation of {name}_, {when}", description, compute, self.context)
        return Measurements(**kept)

    def _others(self, count: int) -> list[str | None]:
        """Fingerprints of the retrained models that LiRA or a bank reads, by seed; a null where one cannot be had."""
        seeds = range(self.context.seed + 1, self.context.seed + 1 + count)
        try:
            return [self._fingerprints.get(seed) or self.retrained_with(seed).fingerprint for seed in seeds]
        except MetricUnavailable:
            return [None]

    def _measured(self, model: MeasuredModel, name: str, metrics: Iterable[Metric]) -> Measurements:
        started, found, inputs = time.perf_counter(), Measurements(), MetricInputs(self, model)
        for metric in metrics:
            if not metric.summary and self._applies(metric, name):
                found.add(metric, inputs)
        if name:
            self._reference_seconds += time.perf_counter() - started
        return found

    def _applies(self, metric: Metric, name: str) -> bool:
        """Whether the model that a metric compares with is there, and is another one than the model measured."""
        return metric.relative_to != name and not (metric.relative_to == "retrain" and self.retrained is None)

    def grad_cam_maps(self, model: nn.Module) -> dict[str, Tensor]:
        """Maps of the first forget test samples for their own class, by model, with the sample ids and pixels.

        ``<model>_peaks`` bring the maps of all models to one scale (``CamMaps``).
        """
        chosen = self.split.forget_test[: self.config.grad_cam_samples]
        images, labels = self.data.view("test", chosen).fetch(torch.arange(len(chosen)))
        models: dict[str, Callable[[], nn.Module]] = {
            "unlearned": lambda: model,
            "original": lambda: self.references.network(self.original, self.context),
        }
        if self.retrained is not None:
            trained = self.retrained
            models["retrain"] = lambda: self.references.network(trained, self.context)
        found = {name: grad_cam(build(), images, labels) for name, build in models.items()}
        maps = {name: each.maps for name, each in found.items()}
        peaks = {f"{name}_peaks": each.peaks for name, each in found.items()}
        return {"samples": chosen, "labels": labels.cpu(), "images": images.cpu().contiguous(), **maps, **peaks}


def _gaps(values: Mapping[str, float | int | None]) -> dict[str, float | int | None]:
    """The unlearned model's value minus retrain's, and the second retrained model's minus retrain's."""
    gaps: dict[str, float | int | None] = {}
    for prefix in ("", "floor_"):
        for name in [card.field for card in cards() if card.compared]:
            own, theirs = values.get(prefix + name), values.get(f"retrain_{name}")
            if own is not None and theirs is not None:
                gaps[f"{prefix}gap_{name}"] = own - theirs
    return gaps
