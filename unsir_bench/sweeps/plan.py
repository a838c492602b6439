"""What a sweep will train, reuse and skip, and about how long it will take, before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console

from unsir_bench.config import Config, validate
from unsir_bench.config_fields import identity
from unsir_bench.data.dataset import ImageData
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_requests import splits_of
from unsir_bench.data.forget_split import ForgetSplit, index_hash
from unsir_bench.errors import ConfigError, UnsirBenchError
from unsir_bench.models.frozen_head import FrozenHeadConfig
from unsir_bench.records import RunRecord, printable, records_below
from unsir_bench.references.bank_models import unlearned_key
from unsir_bench.references.frozen_heads import FrozenHeadModels, reference_models
from unsir_bench.references.store import Entry, Store
from unsir_bench.report.tables.text import print_rows
from unsir_bench.runtime.progress import Progress
from unsir_bench.sweeps.outcome import SweepJob
from unsir_bench.sweeps.training_trial import seconds_per_sample
from unsir_bench.unlearning.method import Access

ORIGINAL, RETRAIN, FLOOR, SHADOW, LOG = (
    "original", "retrain", "second retrain (floor)", "shadow models (LiRA)", "training log",
)  # fmt: skip
BANK_ORIGINAL, BANK_RETRAIN, BANK_UNLEARNED = "originals (bank)", "retrains (bank)", "unlearned models (bank)"
BACKBONE = "backbones of heads"
UNKNOWN = "?"


@dataclass(frozen=True)
class Need:
    """Something costly that a run needs and that all runs share.

    Attributes:
        kind: in words.
        key: its address in the store, or what stands for it while that cannot be known.
        present: whether the store has it.
        seconds: what making it takes, from earlier trainings of the same network or a trial of it; None if unknown.
    """

    kind: str
    key: str
    present: bool
    seconds: float | None


@dataclass
class Plan:
    """The work of a sweep.

    Attributes:
        finished: statuses of runs done before.
        refused: problems of runs that cannot start.
        to_run: runs to be done.
        seconds: what each of those takes by itself, from earlier records; None where there are none.
        needs: what they share, by key.
    """

    finished: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    to_run: list[Config] = field(default_factory=list)
    seconds: list[float | None] = field(default_factory=list)
    needs: dict[str, Need] = field(default_factory=dict)

    @classmethod
    def of(cls, jobs: Sequence[SweepJob]) -> Plan:
        """Plan a sweep; the images of its data sets are read, nothing is trained or written."""
        plan = cls()
        history = History()
        for job in jobs:
            plan._add(job, history)
        return plan

    def _add(self, job: SweepJob, history: History) -> None:
        if job.finished is not None:
            self.finished[job.finished] += 1
            return
        try:
            if isinstance(job.config, ConfigError):
                raise job.config
            needs = list(_Needs(job.config, history).all())
        except UnsirBenchError as error:
            self.refused.append(f"{' '.join(job.overrides)}: {error}")
            return
        self.to_run.append(job.config)
        self.seconds.append(history.seconds_of_run(job.config))
        # A training that another run of the sweep does as its own method is one and the same.
        self.needs |= {need.key: need for need in needs if need.key not in self.needs}

    def rows(self) -> Iterator[dict[str, str]]:
        """One row of words for each kind of work."""
        for kind in dict.fromkeys(need.kind for need in self.needs.values()):
            chosen = [need for need in self.needs.values() if need.kind == kind]
            missing = [need for need in chosen if not need.present]
            seconds = [need.seconds for need in missing]
            yield _row(kind, len(chosen), len(chosen) - len(missing), len(missing), seconds)
        finished = sum(self.finished.values())
        yield _row("runs", finished + len(self.to_run), finished, len(self.to_run), self.seconds)

    def total(self) -> str:
        """How long all of it takes, in words."""
        parts = [need.seconds for need in self.needs.values() if not need.present] + self.seconds
        known = [part for part in parts if part is not None]
        unknown = len(parts) - len(known)
        text = f"about {_duration(sum(known))} one after another" if known else "no estimate"
        return text + (f", without {unknown} for which there is no earlier record" if unknown else "")


def _row(what: str, needed: int, there: int, missing: int, seconds: Sequence[float | None]) -> dict[str, str]:
    known = [value for value in seconds if value is not None]
    parts = [_duration(sum(known))] * bool(known) + [UNKNOWN] * (len(known) < len(seconds))
    return {
        "what": what,
        "needed": str(needed),
        "there already": str(there),
        "to do": str(missing),
        "time": " + ".join(parts),
    }


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class History:
    """How long things took before: trainings by the stores' manifests, runs by the records."""

    def __init__(self) -> None:
        self._entries: dict[str, list[tuple[Entry, dict[str, Any]]]] = {}
        self._records: dict[str, list[RunRecord]] = {}
        self._data: dict[str, tuple[ImageData, DeviceData]] = {}
        self._tried: dict[str, float] = {}

    def entries(self, config: Config) -> list[tuple[Entry, dict[str, Any]]]:
        """The store's entries with their manifests."""
        root = config.store.root
        if root not in self._entries:
            self._entries[root] = [(entry, entry.manifest) for entry in Store(Path(root)).entries()]
        return self._entries[root]

    def records(self, config: Config) -> list[RunRecord]:
        """All done runs of all sweeps."""
        root = config.outputs
        if root not in self._records:
            folders = sorted(path for path in Path(root).glob("*") if path.is_dir())
            found = [record for folder in folders for _, record in records_below(folder)]
            self._records[root] = [record for record in found if record.status == "done" and not record.checkpoints]
        return self._records[root]

    def loaded(self, config: Config) -> tuple[ImageData, DeviceData]:
        """The data set, read once for all runs that use it."""
        key = repr((identity(config.dataset), config.dataset.root))
        if key not in self._data:
            images = config.dataset.load(Progress())
            cpu = torch.device("cpu")
            self._data[key] = images, DeviceData(images, config.dataset, config.hardware, cpu, config.channels_last)
        return self._data[key]

    def seconds_per_sample(self, config: Config) -> float:
        """What training takes per sample and pass: from earlier trainings of the same network, else from a trial."""
        recorded = self._recorded_rate(config)
        return self._trial(config) if recorded is None else recorded

    def _trial(self, config: Config) -> float:
        images, data = self.loaded(config)
        key = repr((identity(config.model), config.numerics, config.train.batch_size, data.image_shape))
        if key not in self._tried:
            self._tried[key] = seconds_per_sample(config, images)
        return self._tried[key]

    def _recorded_rate(self, config: Config) -> float | None:
        wanted = (identity(config.model), dict(config.numerics))
        rates = [
            manifest["seconds"] / manifest["samples"]
            for _, manifest in self.entries(config)
            if manifest.get("samples")
            and tuple(_described(manifest).get(part) for part in ("model", "numerics")) == wanted
        ]
        return median(rates) if rates else None

    def seconds_to_unlearn(self, config: Config) -> float | None:
        """What the method took before with this model and amount of data, whatever the metrics."""
        method, model, _, *data = _alike(config.as_plain())
        found = []
        for record in self.records(config):
            its_method, its_model, _, *its_data = _alike(record.config)
            seconds = record.metrics.get("unlearn_seconds")
            if (its_method, its_model, its_data) == (method, model, data) and seconds:
                found.append(float(seconds))
        return median(found) if found else None

    def seconds_of_run(self, config: Config) -> float | None:
        """Forgetting and evaluation of a run like this one: the same method, model, metrics and amount of data."""
        wanted = _alike(config.as_plain())
        same = [record for record in self.records(config) if _alike(record.config) == wanted]
        shared = ("train", *config.method.precomputes)
        return median([_own_seconds(record, shared) for record in same]) if same else None

    def seconds_to_precompute(self, kind: str, config: Config) -> float | None:
        """What computing this kind took before, for the same network."""
        model = identity(config.model)
        made = [manifest for _, manifest in self.entries(config) if _described(manifest).get("kind") == kind]
        seconds = [manifest["seconds"] for manifest in made if _described(manifest).get("model") == model]
        return median(seconds) if seconds else None


def _described(manifest: dict[str, Any]) -> dict[str, Any]:
    """What an entry of the store was made from; entries of earlier versions say less."""
    described: dict[str, Any] = manifest.get("description", {})
    return described


def _alike(config: dict[str, Any]) -> tuple[Any, ...]:
    dataset = config["dataset"]
    names = [config.get(group, {}).get("name") for group in ("method", "model", "metrics")]
    return (*names, dataset.get("name"), dataset.get("subset"), dataset.get("image_size"))


def _own_seconds(record: RunRecord, shared: Sequence[str]) -> float:
    """What a run took by itself; the phases that all runs share are counted apart."""
    metrics = record.metrics
    elsewhere = sum(metrics.get(f"{phase}_seconds") or 0.0 for phase in shared)
    return (metrics.get("unlearn_seconds") or 0.0) - elsewhere + (metrics.get("evaluation_seconds") or 0.0)


class _Needs:
    """What one run needs of what all runs share."""

    def __init__(self, config: Config, history: History):
        self._config, self._history = config, history
        validate(config)
        self._images, self._data = history.loaded(config)
        self._everything = torch.arange(len(self._data.labels("train")))
        self._store = Store(Path(config.store.root))
        self._splits = list(splits_of(config.forget, self._images, config.dataset, config.seed))
        never_forgotten = self._splits[-1][1].retain_train
        self._references = reference_models(
            self._store, config.train, self._data, config.numerics, config.model, never_forgotten
        )

    def all(self) -> Iterator[Need]:
        """Each of them, those of every step of a sequence included."""
        config = self._config
        yield from self._backbones(never_forgotten=self._splits[-1][1].retain_train)
        original = self._model(ORIGINAL, self._everything, config.seed)
        yield original
        for split, so_far in self._splits:
            yield from self._retrained(so_far)
            if Access.TRAIN_HISTORY in config.method.requires:
                yield self._training_log(original, split)
            for kind in config.method.precomputes:
                yield self._precomputed(kind, original, split)
            yield from self._bank(so_far)

    def _retrained(self, split: ForgetSplit) -> Iterator[Need]:
        config, retain = self._config, split.retain_train
        if len(retain) == 0 or not (config.retrain_reference or config.method.name == "retrain"):
            return
        yield self._model(RETRAIN, retain, config.seed)
        if config.metrics.floor:
            yield self._model(FLOOR, retain, config.seed + 1)
        for shadow in range(config.metrics.lira_shadows):
            yield self._model(SHADOW, retain, config.seed + 1 + shadow)

    def _bank(self, split: ForgetSplit) -> Iterator[Need]:
        """What a bank of models needs beside the run; the logs and precomputations of its originals are not planned."""
        config = self._config
        method, seconds = identity(config.method), self._history.seconds_to_unlearn(config)
        for seed in range(config.seed + 1, config.seed + 1 + config.metrics.bank_size):
            original = self._model(BANK_ORIGINAL, self._everything, seed)
            yield original
            yield self._model(BANK_RETRAIN, split.retain_train, seed)
            key = unlearned_key(method, original.key, split, self._references, seed)
            yield Need(BANK_UNLEARNED, key, self._store.find(key) is not None, seconds)

    def _model(self, kind: str, samples: torch.Tensor, seed: int) -> Need:
        key = self._references.key(self._data.view("train", samples), self._config.model, seed)
        present = self._store.manifest(key) is not None
        return Need(kind, key, present, None if present else self._training_seconds(len(samples)))

    def _backbones(self, never_forgotten: torch.Tensor) -> Iterator[Need]:
        """The networks whose features the heads of ``model=frozen_head`` are solved on, one for each seed."""
        config, model, references = self._config, self._config.model, self._references
        if not (isinstance(model, FrozenHeadConfig) and isinstance(references, FrozenHeadModels)):
            return
        others = max(int(config.metrics.floor), config.metrics.lira_shadows, config.metrics.bank_size)
        samples = len(never_forgotten if model.trained_on == "retain" else self._everything)
        for seed in range(config.seed, config.seed + 1 + others):
            key = references.backbone_key(model, seed)
            if key is None:  # nothing is trained
                return
            present = self._store.manifest(key) is not None
            rate = None if present else self._history.seconds_per_sample(replace(config, model=model.backbone))
            seconds = None if rate is None else rate * samples * config.train.epochs
            yield Need(BACKBONE, key, present, seconds)

    def _training_seconds(self, samples: int) -> float | None:
        if isinstance(self._config.model, FrozenHeadConfig):
            return None  # a head is solved, not trained for a number of epochs
        return self._history.seconds_per_sample(self._config) * samples * self._config.train.epochs

    def _training_log(self, original: Need, split: ForgetSplit) -> Need:
        key, weights = f"log of {original.key} for {split.fingerprint}", self._weights(original)
        if weights is not None:
            key = self._references.log_key(original.key, weights, split)
        present = weights is not None and self._store.manifest(key) is not None
        return Need(LOG, key, present, None if present else self._training_seconds(len(self._everything)))

    def _weights(self, model: Need) -> str | None:
        """The hash of a trained model's weights; None while it is not trained."""
        manifest = self._store.manifest(model.key)
        return manifest.get("weights") if manifest is not None else None

    def _precomputed(self, kind: str, original: Need, split: ForgetSplit) -> Need:
        weights = self._weights(original)
        samples = [index_hash(chosen) for chosen in (split.retain_train, self._everything)]
        made = (_described(manifest) for _, manifest in self._history.entries(self._config))
        seed = self._config.method_seed
        draw = f" drawn by {seed}" if self._config.method.precomputes_by_draw else ""
        present = any(
            (each.get("kind"), each.get("weights")) == (kind, weights)
            and each["samples"] in samples
            and str(each["settings"].get("seed", seed)) == str(seed)
            for each in made
        )
        seconds = self._history.seconds_to_precompute(kind, self._config)
        return Need(kind.replace("_", " "), f"{kind} of {original.key} for {split.fingerprint}{draw}", present, seconds)


def print_plan(jobs: Sequence[SweepJob]) -> None:
    """Print what a sweep will do."""
    plan = Plan.of(jobs)
    print_rows(list(plan.rows()), "what this sweep needs")
    console = Console()
    for line in plan.refused:
        console.print(f"cannot run: {printable(line)}", markup=False, soft_wrap=True)
    console.print(f"{plan.total()}; nothing was started", markup=False)
