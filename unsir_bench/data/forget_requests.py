"""The splits of a run's forgetting requests: what each one forgets, and what all of them so far have forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unsir_bench.data.class_entries import indices_of
from unsir_bench.data.dataset import SUBCLASS, DatasetConfig, ImageData
from unsir_bench.data.forget_config import ForgetConfig
from unsir_bench.data.forget_samples import IndexFile, drawn
from unsir_bench.data.forget_split import ForgetSplit, splits_in_turn
from unsir_bench.errors import ConfigError

SPLITS = ("train", "test")
Indices = dict[str, Tensor]


def splits_of(
    forget: ForgetConfig, data: ImageData, dataset: DatasetConfig, seed: int
) -> list[tuple[ForgetSplit, ForgetSplit]]:
    """For each forgetting request: its own split, and that of all requests so far.

    Args:
        forget: what to forget; it must have no ``problems``.
        data: as ``dataset`` loaded it.
        dataset: tells sub-classes and columns of its samples.
        seed: of the run.

    Raises:
        ConfigError: samples are not of this data set, were forgotten before, or leave nothing of a class to retain; all
            mistakes of all requests are named.
        DataError: a column does not fit the samples.
    """
    requests = forget.requests()
    if not any(request.of_samples for request in requests):
        labels = {name: torch.from_numpy(getattr(data, name).labels) for name in SPLITS}
        groups = forget.steps(data.class_names, seed)
        _require_samples(groups, labels, data.class_names)
        return list(splits_in_turn(labels["train"], labels["test"], groups, len(data.class_names)))
    turns = _Turns(data, dataset, seed)
    splits = [turns.next(request) for request in requests]
    if turns.problems:
        raise ConfigError(turns.problems)
    return splits


def _require_samples(groups: Sequence[Sequence[int]], labels: Indices, class_names: Sequence[str]) -> None:
    """Raise a ConfigError unless both splits have samples of each class to forget."""
    problems = [
        f"forget: class {index} ({class_names[index]}) has no sample in the {split} split; choose classes that have"
        for group in groups
        for index in group
        for split, known in labels.items()
        if not bool((known == index).any())
    ]
    if problems:
        raise ConfigError(problems)


def _nothing() -> Indices:
    return dict.fromkeys(SPLITS, torch.empty(0, dtype=torch.int64))


@dataclass
class _Turns:
    """Serves requests in turn.

    Attributes:
        data, dataset, seed: as in ``splits_of``.
        served: requests so far.
        removed: samples forgotten so far, by split.
        gone: classes forgotten so far.
        superclasses: of all requests so far; None once one was of no sub-class.
        problems: of all requests so far.
    """

    data: ImageData
    dataset: DatasetConfig
    seed: int
    served: int = 0
    removed: Indices = field(default_factory=_nothing)
    gone: tuple[int, ...] = ()
    superclasses: tuple[int, ...] | None = ()
    problems: list[str] = field(default_factory=list)

    def next(self, request: ForgetConfig) -> tuple[ForgetSplit, ForgetSplit]:
        """The splits of the next request; what is wrong with it is added to ``problems``."""
        known = len(self.problems)
        chosen, classes = self._chosen(request), request.steps(self.data.class_names, self.seed)[0]
        again = {name: chosen[name][torch.isin(chosen[name], self.removed[name])] for name in SPLITS}
        self.problems += [
            f"forget.file={request.file}: {name} index {indices[0]} was forgotten by an earlier request "
            f"({len(indices)} such indices)"
            for name, indices in again.items()
            if len(indices) and request.file is not None
        ]
        chosen = {name: chosen[name][~torch.isin(chosen[name], self.removed[name])] for name in SPLITS}
        superclasses = self._superclasses(request, chosen)
        totals, count = {name: len(getattr(self.data, name)) for name in SPLITS}, len(self.data.class_names)
        own = ForgetSplit.of_samples(
            chosen, totals, count, self.removed, classes=classes, gone=self.gone, superclasses=superclasses
        )
        self.problems += self._emptied(own, request)
        if len(own.forget_train) == 0 and len(self.problems) == known:
            self.problems.append(f"forget: {request.words}: no training sample is left to forget")
        self.gone = tuple(sorted((*self.gone, *classes)))
        self.removed = {name: torch.cat([self.removed[name], chosen[name]]) for name in SPLITS}
        together = None if self.superclasses is None or not superclasses else (*self.superclasses, *superclasses)
        self.superclasses = None if together is None else tuple(sorted(set(together)))
        self.served += 1
        return own, ForgetSplit.of_samples(self.removed, totals, count, superclasses=self.superclasses or ())

    def _chosen(self, request: ForgetConfig) -> Indices:
        """The indices that a request names, by split; those that are none of this data set are left out."""
        if request.file is not None:
            return self._listed(request.file)
        if request.subclasses is not None:
            names = self.dataset.subclass_names()
            return self._with(SUBCLASS, [names[index] for index in indices_of(request.subclasses, names)])
        if request.column is not None:
            return self._with(request.column, [str(request.value)])
        if request.of_samples:
            return self._drawn(request)
        classes = request.steps(self.data.class_names, self.seed)[0]
        return {name: _where(np.isin(getattr(self.data, name).labels, classes)) for name in SPLITS}

    def _listed(self, path: str) -> Indices:
        listed = IndexFile.read(Path(path))
        totals = {name: len(getattr(self.data, name)) for name in SPLITS}
        self.problems += listed.problems(path, self.data.fingerprint, totals)
        if listed.data not in (None, self.data.fingerprint):
            return _nothing()
        known = {name: [index for index in getattr(listed, name) if index < totals[name]] for name in SPLITS}
        return {name: torch.tensor(known[name], dtype=torch.int64) for name in SPLITS}

    def _with(self, column: str, values: list[str]) -> Indices:
        """The samples that have one of some values in a column."""
        known = self.dataset.attribute_of(self.data, column)
        found = {name: _where(np.isin(known[name], values)) for name in SPLITS}
        if len(found["train"]) == 0:
            self.problems.append(f"forget: no training sample has {' or '.join(values)} as its {column}")
        return found

    def _drawn(self, request: ForgetConfig) -> Indices:
        left = _where(~np.isin(np.arange(len(self.data.train)), self.removed["train"].numpy()))
        try:
            train = left[drawn(request.count, request.share, len(left), self.seed, self.served)]
        except ConfigError as error:
            self.problems += error.problems
            train = left[:0]
        return {**_nothing(), "train": train}

    def _superclasses(self, request: ForgetConfig, chosen: Indices) -> tuple[int, ...]:
        if request.subclasses is None:
            return ()
        return tuple(np.unique(self.data.train.labels[chosen["train"].numpy()]).tolist())

    def _emptied(self, own: ForgetSplit, request: ForgetConfig) -> Iterator[str]:
        """A line for each class that would keep no training sample, though it is not forgotten as a class."""
        labels = self.data.train.labels
        touched, kept = set(labels[own.forget_train.numpy()].tolist()), set(labels[own.retain_train.numpy()].tolist())
        for index in sorted(touched - kept - set(own.classes)):
            yield (
                f"forget: {request.words}: no training sample of class {index} ({self.data.class_names[index]}) would "
                f"be retained; to forget a class, write forget.classes=[{index}]"
            )


def _where(mask: npt.NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mask))
