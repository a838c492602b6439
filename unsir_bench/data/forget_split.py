"""What to forget, classes or samples, and the four index sets that follow from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unsir_bench.config_fields import hashed_if_not_default, not_hashed, number
from unsir_bench.data.class_entries import indices_of, listed_problems
from unsir_bench.data.forget_samples import IndexFile, drawn
from unsir_bench.errors import ConfigError
from unsir_bench.runtime.seeding import generator

INDEX_SETS = ("retain_train", "forget_train", "retain_test", "forget_test")


@dataclass
class ForgetConfig:
    """The classes to forget: listed by index or by name, or ``random_k`` of them drawn with the run's seed.

    ``sequence`` lists groups of classes to forget one group after another; it replaces the other two. Samples instead
    of classes: ``share`` of the training samples or ``count`` of them, drawn with the run's seed, or those listed in
    ``file`` (see ``forget_samples``).
    """

    name: str = not_hashed("custom")
    classes: list[Any] | None = field(default_factory=lambda: [0])
    random_k: int | None = number(None, at_least=1)
    sequence: list[list[Any]] | None = None
    share: float | None = hashed_if_not_default(number(None, above=0, below=1))
    count: int | None = hashed_if_not_default(number(None, at_least=1))
    file: str | None = hashed_if_not_default(None)

    @property
    def of_samples(self) -> bool:
        """Whether samples are forgotten, and no class as such."""
        return any(value is not None for value in (self.share, self.count, self.file))

    @property
    def title(self) -> str:
        """The name of the forget set in records and tables."""
        return "sequence" if self.sequence else self.name

    def problems(self, class_names: Sequence[str]) -> Iterator[str]:
        """Yield what is wrong with the choice for a data set of these classes."""
        if self.of_samples:
            yield from self._problems_of_samples()
            return
        if self.sequence is not None:
            if not self.sequence or not all(self.sequence):
                yield f"forget.sequence={self.sequence}: list groups of at least one class, such as [[0],[1],[2]]"
            yield from listed_problems(
                "forget.sequence", [entry for group in self.sequence for entry in group], class_names
            )
            return
        if self.random_k is not None:
            if self.classes:
                yield f"forget.classes={self.classes} and forget.random_k={self.random_k}: set one of the two to null"
            if self.random_k >= len(class_names):
                yield f"forget.random_k={self.random_k}: must be below the number of classes, {len(class_names)}"
            return
        if not self.classes:
            yield f"forget.classes={self.classes}: name at least one class to forget, or samples: share, count or file"
            return
        yield from listed_problems("forget.classes", self.classes, class_names)

    def _problems_of_samples(self) -> Iterator[str]:
        given = {name: getattr(self, name) for name in ("share", "count", "file", "classes", "random_k", "sequence")}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) > 1:
            words = " and ".join(f"forget.{name}={value}" for name, value in given.items())
            yield f"{words}: set all but one to null"
        if self.file is not None:
            try:
                IndexFile.read(Path(self.file))
            except ConfigError as error:
                yield from error.problems

    def resolve(self, class_names: Sequence[str], seed: int) -> tuple[int, ...]:
        """Class indices in ascending order, of all steps together.

        Args:
            class_names: names in index order; the choice must have no ``problems`` for them.
            seed: the run's base seed, used by ``random_k`` alone.
        """
        return tuple(sorted(index for group in self.steps(class_names, seed) for index in group))

    def steps(self, class_names: Sequence[str], seed: int) -> list[tuple[int, ...]]:
        """The groups of class indices that are forgotten one after another; one group but for a ``sequence``.

        It is empty where samples are forgotten.
        """
        if self.of_samples:
            return [()]
        if self.sequence is not None:
            return [indices_of(group, class_names) for group in self.sequence]
        if self.random_k is not None:
            drawn = torch.randperm(len(class_names), generator=generator(seed, "forget classes"))[: self.random_k]
            return [tuple(sorted(drawn.tolist()))]
        return [indices_of(self.classes or [], class_names)]

    def by_index(self, class_names: Callable[[], Sequence[str]]) -> ForgetConfig:
        """The same choice as sorted indices, or a file by its content: one choice has one run id, however written.

        Args:
            class_names: gives the names in index order; asked only if a class is given by name.
        """

        def sorted_indices(group: Sequence[Any]) -> list[Any]:
            if all(type(entry) is int for entry in group):
                return sorted(group)
            names = class_names()
            return list(indices_of(group, names)) if not any(listed_problems("", group, names)) else list(group)

        if self.file is not None:
            return replace(self, file=IndexFile.read(Path(self.file)).content)
        if self.sequence is not None:
            return replace(self, sequence=[sorted_indices(group) for group in self.sequence])
        return replace(self, classes=sorted_indices(self.classes)) if self.classes else self


@dataclass(frozen=True)
class ForgetSplit:
    """The retain and forget samples of the training and test splits, as ascending index tensors.

    ``classes`` is empty where samples are forgotten, whatever their classes.

    Raises:
        ValueError: the index sets overlap, do not cover their split, or hold samples of the wrong classes.
    """

    classes: tuple[int, ...]
    num_classes: int
    retain_train: Tensor
    forget_train: Tensor
    retain_test: Tensor
    forget_test: Tensor
    gone: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        train_labels: Tensor,
        test_labels: Tensor,
        classes: Sequence[int],
        num_classes: int,
        gone: Sequence[int] = (),
    ) -> ForgetSplit:
        """Split by class.

        Args:
            train_labels: int64 of shape (training samples,).
            test_labels: int64 of shape (test samples,).
            classes: indices of the classes to forget.
            num_classes: number of classes of the data set.
            gone: classes forgotten before, whose samples are neither retained nor to be forgotten now.
        """
        chosen, before = torch.tensor(sorted(classes)), torch.tensor(sorted(gone), dtype=torch.long)
        indices = []
        for labels in (train_labels, test_labels):
            forget = torch.isin(labels, chosen)
            indices += [torch.where(mask)[0] for mask in (~forget & ~torch.isin(labels, before), forget)]
        sets = dict(zip(INDEX_SETS, indices, strict=True))
        split = cls(tuple(sorted(classes)), num_classes, **sets, gone=tuple(sorted(gone)))
        split._check_labels(train_labels, test_labels)
        return split

    @classmethod
    def of_samples(
        cls, forget: Mapping[str, Tensor], train_labels: Tensor, test_labels: Tensor, num_classes: int
    ) -> ForgetSplit:
        """Split by sample; there may be no test sample to forget.

        Args:
            forget: ascending indices of the samples to forget, by split (``train``, ``test``).
            train_labels: int64 of shape (training samples,).
            test_labels: int64 of shape (test samples,).
            num_classes: number of classes of the data set.

        Raises:
            ConfigError: a class would have no training sample left.
        """
        sets: dict[str, Tensor] = {}
        for name, labels in (("train", train_labels), ("test", test_labels)):
            mask = torch.zeros(len(labels), dtype=torch.bool)
            mask[forget[name]] = True
            sets |= {f"retain_{name}": torch.where(~mask)[0], f"forget_{name}": torch.where(mask)[0]}
        emptied = set(train_labels.tolist()) - set(train_labels[sets["retain_train"]].tolist())
        if emptied:
            raise ConfigError([
                f"forget: no training sample of class {min(emptied)} would be retained; "
                f"to forget a class, write forget.classes=[{min(emptied)}]"
            ])  # fmt: skip
        return cls(
            (), num_classes, sets["retain_train"], sets["forget_train"], sets["retain_test"], sets["forget_test"]
        )

    def __post_init__(self) -> None:
        sides = (("training", self.retain_train, self.forget_train), ("test", self.retain_test, self.forget_test))
        for name, retain, forget in sides:
            together = torch.cat([retain, forget])
            whole = torch.arange(len(together)) if not self.gone else together.unique()
            if not torch.equal(together.sort().values, whole):
                raise ValueError(f"retain and forget indices of the {name} split overlap or leave samples out")

    def _check_labels(self, train_labels: Tensor, test_labels: Tensor) -> None:
        pairs = (
            ("training", self.retain_train, self.forget_train, train_labels),
            ("test", self.retain_test, self.forget_test, test_labels),
        )
        for name, retain, forget, labels in pairs:
            if not set(labels[forget].tolist()) <= set(self.classes) or set(labels[retain].tolist()) & set(
                self.classes
            ):
                raise ValueError(f"the {name} split has a sample on the wrong side")
            # Training images of the retained classes may be gone: methods that need them are then skipped.
            if len(forget) == 0 or (len(retain) == 0 and name == "test"):
                raise ValueError(f"the {name} split has no sample to {'retain' if len(retain) == 0 else 'forget'}")

    @property
    def samples_in_words(self) -> str:
        """How many samples of each split are forgotten."""
        return f"{len(self.forget_train)} training and {len(self.forget_test)} test samples"

    @property
    def indices(self) -> dict[str, Tensor]:
        """The four index sets by name."""
        return {name: getattr(self, name) for name in INDEX_SETS}

    @property
    def fingerprint(self) -> str:
        """Hash of the classes and index sets, 16 hexadecimal digits."""
        identity = (self.classes, self.num_classes, *((self.gone,) if self.gone else ()))
        digest = hashlib.blake2b(repr(identity).encode(), digest_size=8)
        for indices in self.indices.values():
            digest.update(index_hash(indices).encode())
        return digest.hexdigest()


def splits_in_turn(
    train_labels: Tensor, test_labels: Tensor, groups: Sequence[Sequence[int]], num_classes: int
) -> Iterator[tuple[ForgetSplit, ForgetSplit]]:
    """For each group of classes, forgotten one after another: its own split, and that of all groups so far."""
    before: list[int] = []
    for group in groups:
        now = ForgetSplit.of(train_labels, test_labels, group, num_classes, gone=before)
        before = [*before, *group]
        yield now, ForgetSplit.of(train_labels, test_labels, before, num_classes)


def splits_of(
    forget: ForgetConfig,
    labels: Mapping[Any, Tensor],
    class_names: Sequence[str],
    seed: int,
    fingerprint: str,
) -> Iterator[tuple[ForgetSplit, ForgetSplit]]:
    """For each forgetting request: its own split, and that of all requests so far.

    Args:
        forget: what to forget; it must have no ``problems``.
        labels: int64 by split (``train``, ``test``).
        class_names: in index order.
        seed: of the run.
        fingerprint: of the data set.

    Raises:
        ConfigError: the samples are not of this data set, or leave nothing of a class to retain.
    """
    if not forget.of_samples:
        yield from splits_in_turn(labels["train"], labels["test"], forget.steps(class_names, seed), len(class_names))
        return
    split = ForgetSplit.of_samples(
        _samples(forget, labels, seed, fingerprint), labels["train"], labels["test"], len(class_names)
    )
    yield split, split


def _samples(forget: ForgetConfig, labels: Mapping[Any, Tensor], seed: int, fingerprint: str) -> dict[str, Tensor]:
    if forget.file is None:
        train = drawn(forget.count, forget.share, len(labels["train"]), seed)
        return {"train": train, "test": torch.empty(0, dtype=torch.int64)}
    listed = IndexFile.read(Path(forget.file))
    counts = {name: len(of_split) for name, of_split in labels.items()}
    if found := list(listed.problems(forget.file, fingerprint, counts)):
        raise ConfigError(found)
    return {name: torch.tensor(getattr(listed, name), dtype=torch.int64) for name in labels}


def index_hash(indices: Tensor) -> str:
    """Hash of an index tensor, 16 hexadecimal digits."""
    return hashlib.blake2b(indices.to(torch.int64).contiguous().numpy().tobytes(), digest_size=8).hexdigest()
