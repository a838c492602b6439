"""What a sweep will train, reuse and skip, and about how long it will take, before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console

from unsir_bench.config import Config
from unsir_bench.config_fields import identity
from unsir_bench.data.forget_requests import splits_of
from unsir_bench.data.forget_split import ForgetSplit, index_hash
from unsir_bench.errors import ConfigError, UnsirBenchError
from unsir_bench.models.frozen_head import FrozenHeadConfig
from unsir_bench.records import printable
from unsir_bench.references.bank_models import unlearned_description
from unsir_bench.references.frozen_heads import FrozenHeadModels, reference_models
from unsir_bench.references.store import Store, content_key
from unsir_bench.report.tables.text import print_rows
from unsir_bench.runtime.durations import duration
from unsir_bench.sweeps.earlier_times import History, described
from unsir_bench.sweeps.mistakes import told, validate_for_elsewhere
from unsir_bench.sweeps.outcome import SweepJob
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
        refused: for each problem the runs that cannot start for it, by their overrides.
        to_run: runs to be done.
        seconds: what each of those takes by itself, from earlier records; None where there are none.
        needs: what they share, by key.
    """

    finished: Counter[str] = field(default_factory=Counter)
    refused: dict[str, list[str]] = field(default_factory=dict)
    to_run: list[Config] = field(default_factory=list)
    seconds: list[float | None] = field(default_factory=list)
    needs: dict[str, Need] = field(default_factory=dict)

    @classmethod
    def of(cls, jobs: Sequence[SweepJob]) -> Plan:
        """Plan a sweep; its data sets are read, which downloads or decodes what is missing; nothing else is written."""
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
            self.refused.setdefault(str(error), []).append(" ".join(job.overrides))
            return
        self.to_run.append(job.config)
        self.seconds.append(history.seconds_of_run(job.config))
        # A training that another run of the sweep does as its own method is one and the same.
        self.needs |= {need.key: need for need in needs if need.key not in self.needs}

    def complaints(self) -> Iterator[str]:
        """Each problem once, with a run that has it."""
        yield from told(self.refused)
        if missing := {config.hardware.accelerator for config in self.to_run if config.hardware.absent}:
            yield f"this machine has no {' or '.join(sorted(missing))}: times are those of earlier records alone"

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
        text = f"about {duration(sum(known))} one after another" if known else "no estimate"
        return text + (f", without {unknown} for which there is no earlier record" if unknown else "")


def _row(what: str, needed: int, there: int, missing: int, seconds: Sequence[float | None]) -> dict[str, str]:
    known = [value for value in seconds if value is not None]
    parts = [duration(sum(known))] * bool(known) + [UNKNOWN] * (len(known) < len(seconds))
    return {
        "what": what,
        "needed": str(needed),
        "there already": str(there),
        "to do": str(missing),
        "time": " + ".join(parts),
    }


class _Needs:
    """What one run needs of what all runs share."""

    def __init__(self, config: Config, history: History):
        self._config, self._history = config, history
        validate_for_elsewhere(config)
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
        if not config.retrain_reference:
            return
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
            key, weights = f"unlearned from {original.key} for {split.fingerprint}", self._weights(original)
            if weights is not None:
                key = content_key(unlearned_description(method, original.key, weights, split, self._references, seed))
            present = weights is not None and self._store.find(key) is not None
            yield Need(BANK_UNLEARNED, key, present, seconds)

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
        rate = self._history.seconds_per_sample(self._config)
        return None if rate is None else rate * samples * self._config.train.epochs

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
        made = (described(manifest) for _, manifest in self._history.entries(self._config))
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
    for line in plan.complaints():
        console.print(printable(line), markup=False, soft_wrap=True)
    console.print(f"{plan.total()}; nothing was started", markup=False)
