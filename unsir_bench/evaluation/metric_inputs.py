"""What metrics read: one bundle a model, whose slow parts are computed when a metric first asks for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor, nn

from unsir_bench.errors import Diverged, MetricUnavailable
from unsir_bench.runtime.seeding import generator

# Imported where they are used, or for their types alone: the report reads the cards, and needs no training.
if TYPE_CHECKING:
    from unsir_bench.data.device_data import DeviceData
    from unsir_bench.data.forget_split import ForgetSplit
    from unsir_bench.evaluation.evaluate import MetricsConfig
    from unsir_bench.evaluation.relearning import RelearnTime
    from unsir_bench.references.trained_models import ReferenceModels, TrainedModel
    from unsir_bench.training.context import RunContext

LOG = logging.getLogger("unsir_bench")
Made = TypeVar("Made")
NOT_TRAINED = "and retrain_reference=false"
BANK_PARTS = ("forget_train", "forget_test", "retain_test", "unseen_test")


class OtherSeeds(Protocol):
    """Unlearned models of other training seeds by a run's method."""

    @property
    def seconds(self) -> float:
        """What the method took in this run."""
        ...

    def logits(self, seed: int) -> Mapping[str, Tensor]:
        """Of the whole training and test splits, by split, of the model of a training seed: (samples, classes)."""
        ...


@dataclass(frozen=True)
class MeasuredModel:
    """A model to be measured.

    Attributes:
        logits: by split (``train``, ``test``), of all its samples: (samples, classes).
        weights: its state dict, on the CPU.
        network: gives it on the run's device.
        features: gives what its head receives, by split: (samples, dimensions); None without a head.
    """

    logits: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    network: Callable[[], nn.Module]
    features: Callable[[], Mapping[str, Tensor] | None]


@dataclass
class EvaluatedRun:
    """What all models measured in one run share.

    Attributes:
        config: what to measure.
        data: the data set.
        split: retain and forget samples.
        context: device and seeds.
        references: the store's models.
        original: as trained.
        retrained: the gold standard; None leaves out what is relative to it.
        unlearned_models: the run's method with other training seeds; None: no bank of models.
        trains_others: whether retrained models of other training seeds are trained where the store lacks them.
    """

    config: MetricsConfig
    data: DeviceData
    split: ForgetSplit
    context: RunContext
    references: ReferenceModels
    original: TrainedModel
    retrained: TrainedModel | None
    unlearned_models: OtherSeeds | None = None
    trains_others: bool = True
    _unavailable: dict[str, MetricUnavailable] = field(default_factory=dict, init=False, repr=False)
    _fingerprints: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    def has(self, part: str) -> bool:
        """Whether a part has a sample."""
        return len(self.parts[part]) > 0

    @cached_property
    def parts(self) -> dict[str, Tensor]:
        """Indices of the split's parts, and of ``unseen_test``: what attacks compare forget training samples with.

        These are the forget test samples, and the retain ones of forgotten classes that have no forget test sample.
        Samples of other classes would be told from the members by their class alone.
        """
        retained = self.split.indices["retain_test"]
        untested = torch.tensor(self.untested_classes, dtype=torch.int64)
        retained = retained[torch.isin(self.labels["test"][retained], untested)]
        return {**self.split.indices, "unseen_test": torch.cat([self.split.indices["forget_test"], retained])}

    @cached_property
    def untested_classes(self) -> tuple[int, ...]:
        """Classes with forget training but no forget test samples: all of theirs, for samples drawn at random."""
        forgotten = {name: known[self.split.indices[f"forget_{name}"]] for name, known in self.labels.items()}
        trained, tested = (set(forgotten[name].tolist()) for name in ("train", "test"))
        return tuple(sorted(trained - tested))

    @cached_property
    def forgotten_classes(self) -> tuple[int, ...]:
        """The classes of which no training sample is retained, by whatever requests; none for samples of kept ones."""
        labels, split = self.labels["train"], self.split
        emptied = set(labels[split.forget_train].tolist()) - set(labels[split.retain_train].tolist())
        return tuple(sorted({*split.classes, *emptied}))

    @property
    def beyond_the_split(self) -> dict[str, tuple[int, ...]]:
        """What metrics read that the fingerprint of the split does not hold; mostly nothing."""
        emptied = tuple(index for index in self.forgotten_classes if index not in self.split.classes)
        untested = {"untested classes": self.untested_classes}
        return {"superclasses": self.split.superclasses, "wholly forgotten classes": emptied, **untested}

    def rows(self, tensors: Mapping[str, Tensor], part: str) -> Tensor:
        """Of tensors by split, the rows of a part (``parts``).

        Raises:
            MetricUnavailable: the part has no sample.
        """
        kind, _, split = part.partition("_")
        chosen = self.parts[part]
        if not self.has(part):
            raise MetricUnavailable(f"there is no {kind} sample in the {split} split")
        return tensors[split][chosen]

    @cached_property
    def labels(self) -> dict[str, Tensor]:
        """int64 labels by split, of all its samples."""
        return {"train": self.data.labels("train"), "test": self.data.labels("test")}

    @cached_property
    def random_logits(self) -> Tensor:
        """What a network that never trained says of the forget test samples: (samples, classes)."""
        from unsir_bench.training.inference import predict

        view = self.data.view("test", self.split.forget_test)
        return predict(self.context.random_network("zrf"), view, self.context, "a random network")

    @cached_property
    def parameter_names(self) -> tuple[str, ...]:
        """Of all the network's parameters, in its order; those of a frozen backbone are among them."""
        return tuple(name for name, _ in self.context.initial_network().named_parameters())

    @cached_property
    def shadows(self) -> list[TrainedModel]:
        """``lira_shadows`` retrained models of other training seeds: none saw a forget sample."""
        if self.retrained is None:
            raise MetricUnavailable("there is no retrained model, and shadow models are made like it")
        count = self.config.lira_shadows
        seconds = count * self.retrained.seconds
        LOG.info("LiRA needs %d shadow models: up to %.0f s of training for those not in the store", count, seconds)
        seeds = range(self.context.seed + 1, self.context.seed + 1 + count)
        return [self.retrained_with(seed) for seed in seeds]

    def retrained_with(self, seed: int) -> TrainedModel:
        """The model retrained with another training seed.

        Raises:
            MetricUnavailable: it diverged, or is not in the store and may not be trained.
        """
        model = self._tried_once(f"retrained with {seed}", lambda: self._retrained_with(seed))
        self._fingerprints[seed] = model.fingerprint
        return model

    def _retrained_with(self, seed: int) -> TrainedModel:
        context = self.context.of_another_seed(seed)
        if not self.trains_others:
            if (there := self.references.retrained_if_present(self.split, context)) is None:
                raise MetricUnavailable(f"the store has no model retrained with training seed {seed}, {NOT_TRAINED}")
            return there
        try:
            return self.references.retrained(self.split, context)
        except Diverged as error:
            raise MetricUnavailable(f"the model retrained with training seed {seed} diverged: {error}") from error

    def _tried_once(self, what: str, make: Callable[[], Made]) -> Made:
        """What ``make`` returns; what it could not make is not tried again for each metric that asks."""
        if what in self._unavailable:
            raise self._unavailable[what]
        try:
            return make()
        except MetricUnavailable as problem:
            self._unavailable[what] = problem
            raise

    @cached_property
    def bank_retrained(self) -> dict[str, Tensor]:
        """Logits of ``bank_size`` retrained models of other training seeds, by part: (models, samples, classes).

        Logits of the retain training samples are left out: they are most of the memory, and no metric reads them.
        """
        if self.retrained is None:
            raise MetricUnavailable("a bank needs a retrained model")
        return self._bank("retrained", self.retrained.seconds, lambda seed: self.retrained_with(seed).logits)

    @cached_property
    def bank_unlearned(self) -> dict[str, Tensor]:
        """As ``bank_retrained``, of the run's method on originals of these seeds.

        They are apart, since references are scored against retrained models alone: what a method cannot do must not
        become part of what the store keeps of the references.
        """
        if self.unlearned_models is None:
            raise MetricUnavailable("a bank needs a run whose method can be applied again")
        models, seconds = self.unlearned_models, self.original.seconds + self.unlearned_models.seconds
        return self._tried_once("bank", lambda: self._bank("unlearned", seconds, models.logits))

    def _bank(self, kind: str, seconds: float, of: Callable[[int], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        count = self.config.bank_size
        LOG.info("bank of %d %s models: up to %.0f s for those not in the store", count, kind, count * seconds)
        found: dict[str, list[Tensor]] = {}
        for seed in range(self.context.seed + 1, self.context.seed + 1 + count):
            logits = of(seed)
            for part in filter(self.has, BANK_PARTS):
                found.setdefault(part, []).append(self.rows(logits, part))
        return {part: torch.stack(each) for part, each in found.items()}


@dataclass
class MetricInputs:
    """What a metric reads of one model.

    Parts are ``retain_train``, ``forget_train``, ``retain_test``, ``forget_test``, and ``unseen_test``, which attacks
    compare ``forget_train`` with (``EvaluatedRun.parts``).

    Attributes:
        run: what the measured models of a run share: the data, the split, the references.
        model: the model itself.
        values: what has been measured by field name, for metrics registered with ``summary=True``; references' fields
            carry the prefixes of the record.
    """

    run: EvaluatedRun
    model: MeasuredModel
    values: Mapping[str, float | int | None] = field(default_factory=dict)

    def logits(self, part: str) -> Tensor:
        """Float32 logits (samples, classes) of a part, on the CPU."""
        return self.run.rows(self.model.logits, part)

    @property
    def retrained(self) -> TrainedModel:
        """The retrained model; raises ``MetricUnavailable`` where there is none."""
        if self.run.retrained is None:
            raise MetricUnavailable("there is no retrained model")
        return self.run.retrained

    def retrain_logits(self, part: str) -> Tensor:
        """The retrained model's logits of a part; raises as ``retrained``."""
        return self.run.rows(self.retrained.logits, part)

    def labels(self, part: str) -> Tensor:
        """int64 labels (samples,) of a part."""
        return self.run.rows(self.run.labels, part)

    def shadow_logits(self, part: str) -> Tensor:
        """Those of the shadow models: (models, samples, classes)."""
        return torch.stack([self.run.rows(shadow.logits, part) for shadow in self.run.shadows])

    def bank(self, kind: str, part: str) -> Tensor:
        """Logits of a part by the bank's ``retrained`` or ``unlearned`` models: (models, samples, classes)."""
        self.labels(part)  # raises where the part has no sample
        return (self.run.bank_retrained if kind == "retrained" else self.run.bank_unlearned)[part]

    @property
    def seed(self) -> int:
        """The run's."""
        return self.run.context.seed

    @property
    def retain_classes(self) -> tuple[int, ...]:
        """Indices of the classes that are kept."""
        return tuple(index for index in range(self.run.data.num_classes) if index not in self.run.forgotten_classes)

    @cached_property
    def features(self) -> Mapping[str, Tensor]:
        """What the head receives, by split: float32 (samples, dimensions); ``MetricUnavailable`` without a head."""
        features = self.model.features()
        if features is None:
            raise MetricUnavailable("the model has no head whose input could be read as features")
        return features

    def layers(self, most: int, most_per_side: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
        """What layers receive, by layer and split: float32 (samples, channels); and the samples' labels by split.

        Args:
            most: of layers; see ``training.inference.layer_inputs``.
            most_per_side: of retain, and of forget, samples in either split, drawn with the run's seed.
        """
        from unsir_bench.training.inference import layer_inputs

        network = self.model.network()
        received: dict[str, dict[str, Tensor]] = {}
        labels: dict[str, Tensor] = {}
        for split in ("train", "test"):
            chosen = self._drawn(split, most_per_side)
            labels[split] = self.run.labels[split][chosen]
            view = self.run.data.view(split, chosen)
            for layer, features in layer_inputs(network, view, self.run.context, f"layers on {split}", most).items():
                received.setdefault(layer, {})[split] = features
        return received, labels

    def _drawn(self, split: str, most_per_side: int) -> Tensor:
        """Indices, ascending, of at most so many retain and so many forget samples."""
        parts = []
        for part in (f"retain_{split}", f"forget_{split}"):
            indices = self.run.split.indices[part]
            if len(indices) == 0:
                raise MetricUnavailable(f"there are no {part} samples")
            order = torch.randperm(len(indices), generator=generator(self.seed, "layers", part))
            parts.append(indices[order[:most_per_side]])
        return torch.cat(parts).sort().values

    @cached_property
    def relearning(self) -> RelearnTime:
        """How the model relearned the forgotten classes."""
        from unsir_bench.evaluation.metrics.accuracy import accuracy
        from unsir_bench.evaluation.relearning import relearn

        run, known = self.run, self.labels("forget_test")
        return relearn(
            self.model.network(),
            run.data.view("train"),
            run.data.view("test", run.split.forget_test),
            accuracy(run.rows(run.original.logits, "forget_test"), known),
            run.references.recipe,
            run.config.relearn,
            run.context,
        )
