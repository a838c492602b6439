"""The contract of a data set: a config node that names its classes cheaply and loads its images as uint8 arrays."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from unsir_bench.config_fields import Range, choice, hashed_if_not_default, identity, not_hashed, number
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
UNKNOWN_ROW = -1
SHOWN_CLASSES = 12  # of a message
LARGEST_SEED = 2**32 - 1  # that NumPy and scikit-learn take
SUBCLASS = "sub-class"  # the column of ``attribute`` that names each sample's sub-class


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split.

    Attributes:
        images: uint8 of shape (samples, channels, height, width); may be memory-mapped.
        labels: int64 of shape (samples,), class indices.
        rows: int64 of shape (samples,), each sample's place among those that the source has (``UNKNOWN_ROW``
            where nobody knows it); None: its own place.
    """

    images: Images
    labels: Labels
    rows: Labels | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.int64]) -> LabelledImages:
        """The samples at ``indices``, in that order."""
        return LabelledImages(self.images[indices], self.labels[indices], self.source_rows[indices])

    @property
    def source_rows(self) -> Labels:
        """``rows``, spelled out where they are the samples' own places."""
        return np.arange(len(self)) if self.rows is None else self.rows


def attribute_hash(values: Mapping[str, Sequence[str]]) -> str:
    """A hash of what ``DatasetConfig.attribute`` says, 16 hexadecimal digits."""
    # As words: the repr of an array leaves most of it out.
    plain = {split: (tuple if isinstance(own, tuple) else list)(map(str, own)) for split, own in values.items()}
    return hashlib.blake2b(repr(sorted(plain.items())).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class ImageData:
    """A loaded data set: both splits, the class names in index order, and a hash of every pixel and label."""

    train: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]
    fingerprint: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class RawData:
    """Both splits as read from a source, before the options that all data sets share are applied.

    ``fingerprint`` is a hash of the content if the source knows it (a decoded cache does), else None.
    """

    train: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]
    fingerprint: str | None = None


@dataclass
class DatasetConfig(ABC):
    """Options that every data set shares; a data set adds its own and says how to read its images.

    ``normalisation=weights`` takes mean and std from the configuration of the model's pretrained weights, if there are
    such.
    """

    name: str = not_hashed("???")
    root: str | None = not_hashed(None)
    image_size: int | None = number(None, at_least=1)
    color: str = choice("native", ("native", "rgb"))
    subset: int | None = number(None, at_least=1)
    subset_seed: int = number(0, at_least=0, at_most=LARGEST_SEED)
    validation_share: float = number(0.0, at_least=0, below=1)
    normalisation: str = hashed_if_not_default(choice("dataset", ("dataset", "weights")))
    mean: list[float] = field(default_factory=lambda: [0.5])
    std: list[float] = field(default_factory=lambda: [0.5])
    # Recipes and methods refer to these (`${dataset.batch_size}`), and enter hashes themselves.
    batch_size: int = not_hashed(number(256, at_least=1))
    flip: bool = not_hashed(False)
    crop_padding: int = not_hashed(number(0, at_least=0))

    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Class names in index order, without decoding an image.

        Raises:
            DataError: the data cannot be found or its layout is wrong.
        """

    @abstractmethod
    def read(self, progress: Progress) -> RawData:
        """Decode both splits.

        Raises:
            DataError: the data cannot be found or read.
        """

    def content_identity(self) -> str:
        """A cheap, path-free name of the content at ``root``, for run ids; by default the data set's name."""
        return self.name

    def note_content(self, progress: Progress) -> None:  # noqa: B027 - most sets are known by their name
        """Fill in what identifies the images, where files hold them; may decode them all.

        Raises:
            DataError: the images are not those that the configuration names.
        """

    def subclass_names(self) -> tuple[str, ...]:
        """Names of the groups that make up the classes, where the source knows them; raises as ``class_names``."""
        return ()

    def subclass_identity(self) -> str | None:
        """A hash of which sample is of which sub-class, where files say it; None where the set's name does."""
        return None

    def attribute_columns(self) -> tuple[str, ...]:
        """What else is known of each sample, beside its class."""
        return ()

    def attribute(self, column: str) -> dict[str, Sequence[str]]:
        """What a column says of every sample of the source, by split, in the source's order.

        Args:
            column: ``SUBCLASS`` where there are ``subclass_names``, or one of ``attribute_columns``.

        Raises:
            DataError: there is no such column, or it does not fit the samples.
        """
        raise DataError(f"dataset={self.name}: nothing but the class is known of its samples, so no {column!r}")

    def may_have_changed(self, root: str | None, since: float) -> bool:
        """Whether the images may differ from those that a run of the same content identity read.

        Args:
            root: where that run read them.
            since: when, in seconds of the epoch.
        """
        return False

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        if len(self.mean) != len(self.std):
            yield f"{key}.mean={self.mean}, {key}.std={self.std}: must have one number per channel each"
        for name, bounds in (("mean", Range(at_least=0, at_most=1)), ("std", Range(above=0, at_most=1))):
            values = getattr(self, name)
            if complaint := next(filter(None, map(bounds.complaint, values)), None):
                yield f"{key}.{name}={values}: {complaint}; pixel values are in [0, 1]: divide those of 0 to 255 by 255"

    def load(self, progress: Progress) -> ImageData:
        """Read the set, then apply subset, validation, size and colour options.

        Raises:
            DataError: as ``read``; or what that returned is not what it must return.
        """
        raw = self.read(progress)
        self._require_usable(raw)
        train, test = (_with_long_labels(split) for split in (raw.train, raw.test))
        raw = replace(raw, train=train, test=test)
        if self.subset is not None:
            train, test = (self._capped(split) for split in (train, test))
        if self.validation_share:
            train, test = self._held_out(train)
        known = raw.fingerprint if train is raw.train and test is raw.test else None
        chosen = RawData(train, test, raw.class_names, known)
        if self.image_size is not None:
            from unsir_bench.data.resized_images import resized  # imports this module

            chosen = resized(chosen, self.image_size, self.root, progress)
        shown = self._coloured(chosen.train), self._coloured(chosen.test)
        self._require_one_shape(shown)
        known = chosen.fingerprint if shown[0] is chosen.train and shown[1] is chosen.test else None
        train, test = (replace(new, rows=old.rows) for new, old in zip(shown, (train, test), strict=True))
        fingerprint = known or content_hash(train, test, classes=len(raw.class_names))
        return ImageData(train, test, raw.class_names, fingerprint)

    def attribute_of(self, data: ImageData, column: str) -> dict[str, npt.NDArray[np.str_]]:
        """``attribute`` of the samples that were loaded, by split.

        Args:
            data: as ``load`` returns it.
            column: as in ``attribute``; raises as that does.
        """
        if any(bool((split.source_rows == UNKNOWN_ROW).any()) for split in (data.train, data.test)):
            raise DataError(
                f"dataset.on_bad_image=skip left images of {self.name} out, so nobody knows the {column} of each that "
                "is left; repair or remove those images"
            )
        known = {split: np.asarray(values, dtype=np.str_) for split, values in self.attribute(column).items()}
        source = {"train": "train", "test": "train" if self.validation_share else "test"}
        return {split: known[source[split]][getattr(data, split).source_rows] for split in source}

    def _require_usable(self, raw: RawData) -> None:
        """Hold what ``read`` returned, perhaps of a plug-in, against what it must return."""
        splits = {"train": raw.train, "test": raw.test}
        wrong = [f"{name} {line}" for name, own in splits.items() for line in _misfits(own, len(raw.class_names))]
        names = tuple(self.class_names())
        if tuple(raw.class_names) != names:
            wrong.append(f"the class names {_shortened(raw.class_names)}, where class_names() says {_shortened(names)}")
        if len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
            wrong.append(f"class names that are not words, each another ({_shortened(names)})")
        if wrong:
            raise DataError(
                f"dataset={self.name}: {type(self).__name__}.read returned {'; '.join(wrong)}. It must return NumPy "
                "arrays: uint8 images (samples, channels, height, width), and for each the index of its class"
            )

    def _require_one_shape(self, splits: Sequence[LabelledImages]) -> None:
        if len(shapes := {split.images.shape[1:] for split in splits}) > 1:
            raise DataError(
                f"dataset={self.name}: {type(self).__name__}.read returned train and test images of the shapes "
                f"{' and '.join(map(str, sorted(shapes)))}; they must be of one: set dataset.image_size to resize all, "
                "or dataset.color=rgb where one split is grey"
            )

    def _coloured(self, split: LabelledImages) -> LabelledImages:
        if self.color == "native" or split.images.shape[1] != 1:
            return split
        count, _, height, width = split.images.shape
        return LabelledImages(np.broadcast_to(split.images, (count, 3, height, width)), split.labels)

    def _capped(self, split: LabelledImages) -> LabelledImages:
        draw = np.random.default_rng(self.subset_seed)
        chosen = [draw.permutation(np.flatnonzero(split.labels == c))[: self.subset] for c in np.unique(split.labels)]
        return split.take(np.sort(np.concatenate(chosen)))

    def _held_out(self, train: LabelledImages) -> tuple[LabelledImages, LabelledImages]:
        try:
            kept, held = stratified_split(train.labels, self.validation_share, self.subset_seed)
        except ValueError as error:
            raise DataError(
                f"dataset.validation_share={self.validation_share} cannot be held out of {len(train)} images: {error}"
            ) from error
        return train.take(kept), train.take(held)


def _with_long_labels(split: LabelledImages) -> LabelledImages:
    """The same with the labels that torch's losses take."""
    return replace(split, labels=split.labels.astype(np.int64, copy=False))


def _misfits(split: LabelledImages, classes: int) -> Iterator[str]:
    """Yield what is wrong with the arrays of a split."""
    images, labels = split.images, split.labels
    if split.rows is not None and len(split.rows) != len(images):
        yield f"{len(split.rows)} rows for {len(images)} images"
    kind, shape = getattr(images, "dtype", type(images).__name__), tuple(getattr(images, "shape", ()))
    if kind != np.uint8:
        yield f"images of {kind}"
    if len(shape) != 4 or (shape[1] not in (1, 3) and shape[3] in (1, 3)):
        yield f"images of shape {shape}"
    if getattr(getattr(labels, "dtype", None), "kind", None) not in ("i", "u") or labels.ndim != 1:
        yield f"labels that are no whole numbers, one a sample ({getattr(labels, 'dtype', type(labels).__name__)})"
    elif len(labels) != len(images):
        yield f"{len(labels)} labels for {len(images)} images"
    elif not len(labels):
        yield "no image"
    elif not 0 <= labels.min() <= labels.max() < classes:
        yield f"labels from {labels.min()} to {labels.max()} for {classes} classes"


def _shortened(names: Sequence[object]) -> str:
    """Class names for a message: the first, and how many there are."""
    return ", ".join(map(repr, names[:SHOWN_CLASSES])) + (f", … ({len(names)})" if len(names) > SHOWN_CLASSES else "")


_LAST_LOADED: dict[str, ImageData] = {}


def load_cached(dataset: DatasetConfig, progress: Progress) -> ImageData:
    """The loaded set; the last one is kept for the next run of this process, which usually needs the same."""
    key = repr((identity(dataset), dataset.root))
    if key not in _LAST_LOADED:
        _LAST_LOADED.clear()
        _LAST_LOADED[key] = dataset.load(progress)
    return _LAST_LOADED[key]


def stratified_split(
    labels: Labels, second_share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Two sorted index sets with the classes in the same proportions, the second holding ``second_share``.

    Raises:
        ValueError: a class has too few samples to be in both.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    splitter = StratifiedShuffleSplit(n_splits=1, test_size=second_share, random_state=seed)
    first, second = next(splitter.split(np.zeros(len(labels)), labels))
    # scikit-learn rounds: a rare class may end up wholly on one side.
    for side in (first, second):
        for label in np.setdiff1d(labels, labels[side]):
            raise ValueError(f"class {label} has too few samples ({np.sum(labels == label)}) to be in both parts")
    return np.sort(first), np.sort(second)


def content_hash(*splits: LabelledImages, classes: int | None = None) -> str:
    """Hash of shapes, pixels and labels, 16 hexadecimal digits; and of the number of classes, if labels do not tell it.

    Args:
        splits: of the set.
        classes: how many outputs a network for them has; None: as many as the labels tell.
    """
    digest = hashlib.blake2b(digest_size=8)
    if classes not in (None, 1 + max((int(split.labels.max()) for split in splits if len(split)), default=-1)):
        digest.update(f"{classes} classes".encode())
    for split in splits:
        digest.update(repr(split.images.shape).encode())
        for start in range(0, len(split), 4096):
            digest.update(np.ascontiguousarray(split.images[start : start + 4096]).data)
        digest.update(np.ascontiguousarray(split.labels).data)
    return digest.hexdigest()
