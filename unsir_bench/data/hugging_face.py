"""Data sets of the Hugging Face library `datasets`: on its hub, or local Parquet, Arrow and image files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from unsir_bench.config_fields import not_hashed
from unsir_bench.data.dataset import Images
from unsir_bench.data.decoded_cache import DecodedCache
from unsir_bench.data.folder_listing import ImageFile, Listing
from unsir_bench.data.image_cache import cache_root
from unsir_bench.data.picture import UnusableImage
from unsir_bench.data.picture_set import PictureSet
from unsir_bench.errors import DataError

LOG = logging.getLogger("unsir_bench")
SPLITS = ("train", "test")


@dataclass(frozen=True)
class _Source:
    """What decides the rows: the arguments of ``load_dataset``, and the columns."""

    path: str
    config_name: str | None
    revision: str | None
    splits: tuple[str, str]
    image_column: str
    label_column: str


@dataclass
class HuggingFaceSet(PictureSet):
    """Images of a data set that ``datasets.load_dataset`` finds; needs the extra ``data``.

    ``path`` is a name on the hub or a local folder. Classes are those of the label column's ``ClassLabel``, else its
    distinct values in sorted order. No code of a data set is run: ``datasets`` 4 and later run none.
    """

    name: str = not_hashed("hf")
    path: str = not_hashed("")
    config_name: str | None = None
    revision: str | None = not_hashed(None)
    image_column: str = "image"
    label_column: str = "label"
    train_split: str = "train"
    test_split: str = "test"

    def class_names(self) -> tuple[str, ...]:
        return rows_of(self._source).listing.class_names

    def may_have_changed(self, root: str | None, since: float) -> bool:
        return True  # the library does not tell; the comparison reads the cache of decoded images

    def cached(self) -> tuple[DecodedCache, Listing]:
        rows = rows_of(self._source)
        return _RowCache(self.path, self.options, self.on_bad_image, "dataset.path", rows.splits), rows.listing

    @property
    def _source(self) -> _Source:
        splits = (self.train_split, self.test_split)
        return _Source(self.path, self.config_name, self.revision, splits, self.image_column, self.label_column)


@dataclass(frozen=True)
class _Rows:
    """The rows of both splits, images encoded, and their listing: ``SPLIT/CLASS/ROW`` stands for a file's path."""

    listing: Listing
    splits: tuple[Any, Any]


@dataclass(frozen=True)
class _RowCache(DecodedCache):
    """Decodes rows as if they were files, into the user's cache folder."""

    splits: Sequence[Any] = field(default=())

    def _cache_root(self) -> Path:
        return cache_root(None)

    def _cache_key(self, listing: Listing) -> str:
        # The library's fingerprints change with the content: other images of equal sizes have another cache.
        fingerprints = "-".join(rows._fingerprint for rows in self.splits)
        return f"{super()._cache_key(listing)}-{fingerprints}"

    def _pixels(self, path: Path) -> Images:
        split, row = path.parts[-3], int(path.name)
        stored = self.splits[SPLITS.index(split)][row]["image"] or {}
        if stored.get("bytes") is not None:
            return self.options.pixels_of_content(stored["bytes"], str(path))
        if stored.get("path") is None:
            raise UnusableImage("the row has no image")
        return self.options.pixels(Path(stored["path"]))


@lru_cache(maxsize=4)
def rows_of(source: _Source) -> _Rows:
    """The rows of a source; kept until the process looks again, since a sweep asks once per job.

    Raises:
        DataError: the package, the set, a split or a column is missing, a row has no label, or is in both splits.
    """
    if not source.path:
        raise DataError("dataset.path is not set: give a name on the Hugging Face hub, or a folder")
    splits = (_split(source, SPLITS[0], source.splits[0]), _split(source, SPLITS[1], source.splits[1]))
    labels = [rows["label"][:] for rows in splits]
    feature = splits[0].features["label"]
    names = getattr(feature, "names", None)
    # -1 marks a row without a label where classes have names; in a column of plain numbers it may be a class.
    none = (None, -1) if names else (None,)
    missing = [name for name, values in zip(SPLITS, labels, strict=True) if any(v in none for v in values)]
    if missing:
        key = f"dataset.{missing[0]}_split={source.splits[SPLITS.index(missing[0])]}"
        raise DataError(f"{key}: has rows without a label; choose another split, or a part of it such as train[:90%]")
    values: list[Any] = list(range(len(names))) if names else sorted(set(labels[0]) | set(labels[1]))
    class_names = tuple(map(str, names or values))
    number = {value: index for index, value in enumerate(values)}
    _refuse_gaps(source, class_names, [{number[value] for value in own} for own in labels])
    _refuse_shared(source, {name: info.num_examples for name, info in (splits[0].info.splits or {}).items()})
    files = [
        tuple(
            ImageFile(f"{name}/{_as_folder(class_names, number[label])}/{row}", number[label], size, 0)
            for row, (label, size) in enumerate(zip(own, _sizes(rows), strict=True))
        )
        for name, rows, own in zip(SPLITS, splits, labels, strict=True)
    ]
    return _Rows(Listing(class_names, files[0], files[1]), splits)


def _refuse_gaps(source: _Source, class_names: Sequence[str], present: Sequence[set[int]]) -> None:
    """Raise a DataError unless each split has each class of the other; warn of names without any row.

    Args:
        source: of the rows.
        class_names: in index order.
        present: indices of the classes that each split has.
    """
    anywhere = present[0] | present[1]
    if unused := [name for index, name in enumerate(class_names) if index not in anywhere]:
        LOG.warning(
            "dataset.label_column=%s: names %d classes of which there is no row (%s); the network has an output for "
            "each, and they cannot be forgotten",
            source.label_column, len(unused), ", ".join(unused[:5]),
        )  # fmt: skip
    for name, split, own in zip(SPLITS, source.splits, present, strict=True):
        if absent := [class_names[index] for index in sorted(anywhere) if index not in own]:
            raise DataError(
                f"dataset.{name}_split={split}: has no row of {len(absent)} classes that the other split has "
                f"({', '.join(absent[:5])}); rows that are sorted by class cannot be sliced, choose splits that hold "
                "every class"
            )


def _refuse_shared(source: _Source, counts: Mapping[str, int]) -> None:
    """Raise a DataError where both splits hold a row: test accuracies would be of training samples.

    Args:
        source: of the rows.
        counts: rows of each whole split of the set; none where the library does not tell.
    """
    from datasets import ReadInstruction

    if not counts:
        return
    specs = ("+".join(counts) if spec == "all" else spec for spec in source.splits)
    train, test = (ReadInstruction.from_spec(spec).to_absolute(counts) for spec in specs)
    ends = [
        (max(one.from_, other.from_), min(one.to, other.to))
        for one in train
        for other in test
        if one.splitname == other.splitname
    ]
    if shared := sum(max(0, end - start) for start, end in ends):
        raise DataError(
            f"dataset.train_split={source.splits[0]}, dataset.test_split={source.splits[1]}: share {shared} rows; "
            "choose parts that do not overlap, such as train[:80%] and train[80%:]"
        )


def _as_folder(class_names: Sequence[str], index: int) -> str:
    """A class in the path that stands for a row: its name, or its index where a path would swallow that."""
    name = class_names[index].replace("/", "_")
    return str(index) if name in ("", ".") else name


def _split(source: _Source, name: str, split: str) -> Any:
    """The rows of one split with two columns, ``image`` (encoded: bytes and path) and ``label``."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"dataset=hf needs the package datasets ({error}): pip install 'unsir-bench[data]'") from error
    datasets.disable_progress_bars()
    key = f"dataset.path={source.path}, dataset.{name}_split={split}"
    try:
        rows = datasets.load_dataset(source.path, source.config_name, split=split, revision=source.revision)
    except Exception as error:  # the library and its client raise their own kinds
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{key}: cannot be loaded ({reason})") from error
    for column, wanted in (("image", source.image_column), ("label", source.label_column)):
        if wanted not in rows.column_names:
            raise DataError(f"dataset.{column}_column={wanted}: {key} has the columns {', '.join(rows.column_names)}")
    rows = rows.select_columns([source.image_column, source.label_column])
    rows = rows.rename_columns({source.image_column: "image", source.label_column: "label"})
    if not isinstance(kind := rows.features["label"], datasets.Value | datasets.ClassLabel):
        raise DataError(
            f"dataset.label_column={source.label_column}: {key} has no single value in each row there, but "
            f"{type(kind).__name__}; choose a column of one class a row"
        )
    try:
        return rows.cast_column("image", datasets.Image(decode=False))
    except Exception as error:
        raise DataError(f"dataset.image_column={source.image_column}: {key} has no images there ({error})") from error


def _sizes(rows: Any) -> list[int]:
    """Bytes of each encoded image; 0 where there is none, which decoding reports."""
    import pyarrow.compute as pc

    stored = rows.with_format("arrow")["image"][:]
    lengths = pc.binary_length(pc.struct_field(stored, "bytes")).to_pylist()
    paths = pc.struct_field(stored, "path").to_pylist()
    return [_size_of(path) if length is None else length for length, path in zip(lengths, paths, strict=True)]


def _size_of(path: str | None) -> int:
    try:
        return Path(path).stat().st_size if path is not None else 0
    except OSError:
        return 0
