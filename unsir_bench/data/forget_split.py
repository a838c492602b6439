"""The four index sets that follow from what is forgotten, classes or samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

INDEX_SETS = ("retain_train", "forget_train", "retain_test", "forget_test")


@dataclass(frozen=True)
class ForgetSplit:
    """The retain and forget samples of the training and test splits, as ascending index tensors.

    ``classes`` is empty where samples are forgotten, whatever their classes; ``superclasses`` are then the classes of a
    sub-class to forget, each of which keeps other samples. ``gone`` are classes that earlier requests forgot, and
    ``samples_removed`` says that earlier requests forgot samples.

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
    superclasses: tuple[int, ...] = ()
    samples_removed: bool = False

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
        sets: dict[str, Any] = dict(zip(INDEX_SETS, indices, strict=True))
        split = cls(tuple(sorted(classes)), num_classes, **sets, gone=tuple(sorted(gone)))
        split._check_labels(train_labels, test_labels)
        return split

    @classmethod
    def of_samples(
        cls,
        forget: Mapping[str, Tensor],
        totals: Mapping[str, int],
        num_classes: int,
        removed: Mapping[str, Tensor] | None = None,
        *,
        classes: tuple[int, ...] = (),
        gone: tuple[int, ...] = (),
        superclasses: tuple[int, ...] = (),
    ) -> ForgetSplit:
        """Split by sample; there may be no test sample to forget.

        Args:
            forget: indices of the samples to forget, by split (``train``, ``test``).
            totals: samples of each split.
            num_classes: number of classes of the data set.
            removed: indices of samples that were forgotten before, in no index set of this split.
            classes, gone, superclasses: see the class.
        """
        sets: dict[str, Any] = {}
        for name, total in totals.items():
            kept = torch.ones(total, dtype=torch.bool)
            kept[forget[name]] = False
            if removed is not None:
                kept[removed[name]] = False
            sets |= {f"retain_{name}": torch.where(kept)[0], f"forget_{name}": forget[name].sort().values}
        any_removed = removed is not None and len(removed["train"]) > 0
        return cls(classes, num_classes, **sets, gone=gone, superclasses=superclasses, samples_removed=any_removed)

    def __post_init__(self) -> None:
        sides = (("training", self.retain_train, self.forget_train), ("test", self.retain_test, self.forget_test))
        for name, retain, forget in sides:
            together = torch.cat([retain, forget])
            partial = bool(self.gone) or self.samples_removed
            whole = together.unique() if partial else torch.arange(len(together))
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

    def removed(self, samples: int) -> Tensor:
        """Ascending indices of the training samples, out of ``samples``, that earlier requests forgot."""
        gone = torch.ones(samples, dtype=torch.bool)
        gone[torch.cat([self.retain_train, self.forget_train])] = False
        return torch.where(gone)[0]

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


def index_hash(indices: Tensor) -> str:
    """Hash of an index tensor, 16 hexadecimal digits."""
    return hashlib.blake2b(indices.to(torch.int64).contiguous().numpy().tobytes(), digest_size=8).hexdigest()
