"""Which classes to forget, and the four index sets that follow from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unsir_bench.config_fields import not_hashed, number
from unsir_bench.data.class_entries import indices_of, listed_problems
from unsir_bench.runtime.seeding import generator

INDEX_SETS = ("retain_train", "forget_train", "retain_test", "forget_test")


@dataclass
class ForgetConfig:
    """The classes to forget: listed by index or by name, or ``random_k`` of them drawn with the run's seed.

    ``sequence`` lists groups of classes to forget one group after another; it replaces the other two.
    """

    name: str = not_hashed("custom")
    classes: list[Any] | None = field(default_factory=lambda: [0])
    random_k: int | None = number(None, at_least=1)
    sequence: list[list[Any]] | None = None

    @property
    def title(self) -> str:
        """The name of the forget set in records and tables."""
        return "sequence" if self.sequence else self.name

    def problems(self, class_names: Sequence[str]) -> Iterator[str]:
        """Yield what is wrong with the choice for a data set of these classes."""
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
            yield f"forget.classes={self.classes}: name at least one class to forget"
            return
        yield from listed_problems("forget.classes", self.classes, class_names)

    def resolve(self, class_names: Sequence[str], seed: int) -> tuple[int, ...]:
        """Class indices in ascending order, of all steps together.

        Args:
            class_names: names in index order; the choice must have no ``problems`` for them.
            seed: the run's base seed, used by ``random_k`` alone.
        """
        return tuple(sorted(index for group in self.steps(class_names, seed) for index in group))

    def steps(self, class_names: Sequence[str], seed: int) -> list[tuple[int, ...]]:
        """The groups of class indices that are forgotten one after another; one group but for a ``sequence``."""
        if self.sequence is not None:
            return [indices_of(group, class_names) for group in self.sequence]
        if self.random_k is not None:
            drawn = torch.randperm(len(class_names), generator=generator(seed, "forget classes"))[: self.random_k]
            return [tuple(sorted(drawn.tolist()))]
        return [indices_of(self.classes or [], class_names)]

    def by_index(self, class_names: Callable[[], Sequence[str]]) -> ForgetConfig:
        """The same choice as sorted indices: one choice has one run id, however it is written.

        Args:
            class_names: gives the names in index order; asked only if a class is given by name.
        """

        def sorted_indices(group: Sequence[Any]) -> list[Any]:
            if all(type(entry) is int for entry in group):
                return sorted(group)
            names = class_names()
            return list(indices_of(group, names)) if not any(listed_problems("", group, names)) else list(group)

        if self.sequence is not None:
            return replace(self, sequence=[sorted_indices(group) for group in self.sequence])
        return replace(self, classes=sorted_indices(self.classes)) if self.classes else self


@dataclass(frozen=True)
class ForgetSplit:
    """The retain and forget samples of the training and test splits, as ascending index tensors.

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


def index_hash(indices: Tensor) -> str:
    """Hash of an index tensor, 16 hexadecimal digits."""
    return hashlib.blake2b(indices.to(torch.int64).contiguous().numpy().tobytes(), digest_size=8).hexdigest()
