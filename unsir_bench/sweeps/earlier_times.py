"""How long trainings and runs took before, by the store's manifests and the records, for a plan's estimates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from unsir_bench.config import Config
from unsir_bench.config_fields import identity
from unsir_bench.data.dataset import ImageData
from unsir_bench.data.device_data import DeviceData
from unsir_bench.errors import DataError
from unsir_bench.records import RunRecord, records_below
from unsir_bench.references.store import Entry, Store
from unsir_bench.runtime.progress import Progress
from unsir_bench.sweeps.training_trial import seconds_per_sample


class History:
    """How long things took before: trainings by the stores' manifests, runs by the records."""

    def __init__(self) -> None:
        self._entries: dict[str, list[tuple[Entry, dict[str, Any]]]] = {}
        self._records: dict[str, list[RunRecord]] = {}
        self._data: dict[str, tuple[ImageData, DeviceData]] = {}
        self._absent: dict[str, DataError] = {}
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
        """The data set, read once for all runs that use it; one that cannot be had is looked for once."""
        key = repr((identity(config.dataset), config.dataset.root))
        if key in self._absent:
            raise self._absent[key]
        if key not in self._data:
            try:
                images = config.dataset.load(Progress())
            except DataError as error:
                self._absent[key] = error
                raise
            cpu = torch.device("cpu")
            self._data[key] = images, DeviceData(images, config.dataset, config.hardware, cpu, config.channels_last)
        return self._data[key]

    def seconds_per_sample(self, config: Config) -> float | None:
        """What training takes per sample and pass: from earlier trainings of the same network on the same images, else
        from a trial.

        None where neither is: the accelerator is another machine's.
        """
        recorded = self._recorded_rate(config)
        if recorded is None and not config.hardware.absent:
            return self._trial(config)
        return recorded

    def _trial(self, config: Config) -> float:
        images, data = self.loaded(config)
        key = repr((identity(config.model), config.numerics, config.train.batch_size, data.image_shape))
        if key not in self._tried:
            self._tried[key] = seconds_per_sample(config, images)
        return self._tried[key]

    def _recorded_rate(self, config: Config) -> float | None:
        # Of the same images alone: the time of a sample grows with its size, which the network does not tell.
        wanted = (identity(config.model), dict(config.numerics), self.loaded(config)[1].fingerprint)
        rates = [
            manifest["seconds"] / manifest["samples"]
            for _, manifest in self.entries(config)
            if manifest.get("samples")
            and tuple(described(manifest).get(part) for part in ("model", "numerics", "data")) == wanted
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
        made = [manifest for _, manifest in self.entries(config) if described(manifest).get("kind") == kind]
        seconds = [manifest["seconds"] for manifest in made if described(manifest).get("model") == model]
        return median(seconds) if seconds else None


def described(manifest: dict[str, Any]) -> dict[str, Any]:
    """What an entry of the store was made from; entries of earlier versions say less."""
    found: dict[str, Any] = manifest.get("description", {})
    return found


def _alike(config: dict[str, Any]) -> tuple[Any, ...]:
    dataset = config["dataset"]
    names = [config.get(group, {}).get("name") for group in ("method", "model", "metrics")]
    return (*names, dataset.get("name"), dataset.get("subset"), dataset.get("image_size"))


def _own_seconds(record: RunRecord, shared: Sequence[str]) -> float:
    """What a run took by itself; the phases that all runs share are counted apart."""
    metrics = record.metrics
    elsewhere = sum(metrics.get(f"{phase}_seconds") or 0.0 for phase in shared)
    return (metrics.get("unlearn_seconds") or 0.0) - elsewhere + (metrics.get("evaluation_seconds") or 0.0)
