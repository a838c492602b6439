"""What to forget, as a configuration says it: one request, or several one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from unsir_bench.config_fields import hashed_if_not_default, nearest, not_hashed, number, problems
from unsir_bench.data.class_entries import indices_of, listed_problems, read_as
from unsir_bench.data.dataset import SUBCLASS, DatasetConfig, attribute_hash
from unsir_bench.data.forget_samples import IndexFile
from unsir_bench.errors import ConfigError, DataError
from unsir_bench.runtime.seeding import generator

# Exactly one of them chooses what a request forgets.
CHOICES = ("classes", "random_k", "sequence", "share", "count", "file", "subclasses", "column")
# What a request of a sequence may hold, and of which type it is.
OF_A_SEQUENCE: dict[str, Any] = {
    "classes": list, "share": int | float, "count": int, "file": str, "subclasses": list, "column": str,
    "value": str | int | float,
}  # fmt: skip


@dataclass
class ForgetConfig:
    """The classes to forget: listed by index or by name, or ``random_k`` of them drawn with the run's seed.

    Samples instead of classes: ``share`` of the training samples or ``count`` of them, drawn with the run's seed; those
    listed in ``file`` (see ``forget_samples``); those of ``subclasses``; or those whose ``column`` of
    ``attributes.csv`` says ``value``.

    ``sequence`` lists requests that are served one after another, and replaces all others: a list is a group of
    classes, a word a file of indices, and a mapping holds the keys above.
    """

    name: str = not_hashed("custom")
    classes: list[Any] | None = field(default_factory=lambda: [0])
    random_k: int | None = number(None, at_least=1)
    sequence: list[Any] | None = None
    share: float | None = hashed_if_not_default(number(None, above=0, below=1))
    count: int | None = hashed_if_not_default(number(None, at_least=1))
    file: str | None = hashed_if_not_default(None)
    subclasses: list[Any] | None = hashed_if_not_default(None)  # noqa: RUF009 - a field
    column: str | None = hashed_if_not_default(None)
    value: Any = hashed_if_not_default(None)  # noqa: RUF009 - a field; raw, since 1.50 as text is 1.5

    @property
    def of_samples(self) -> bool:
        """Whether samples are forgotten, and no class as such."""
        return any(getattr(self, name) is not None for name in ("share", "count", "file", "subclasses", "column"))

    @property
    def title(self) -> str:
        """The name of the forget set in records and tables."""
        return "sequence" if self.sequence else self.name

    @property
    def words(self) -> str:
        """The choice of one request, as a command line would say it."""
        given = {name: getattr(self, name) for name in CHOICES if getattr(self, name) is not None}
        if self.column is not None:
            return f"{self.column}={self.value}"
        return ", ".join(f"{name}={value}" for name, value in given.items())

    def requests(self) -> list[ForgetConfig]:
        """The requests in their order; the choice itself where it is no sequence."""
        return [self] if self.sequence is None else [_request(entry) for entry in self.sequence]

    def change_files(self, change: Callable[[str], str]) -> None:
        """Change the path of each file of indices, in place; a word that is none of a file stays for ``problems``."""
        if self.file:
            self.file = change(self.file)
        entries = self.sequence or []
        for place, entry in enumerate(entries):
            if isinstance(entry, str) and Path(entry).suffix:
                entries[place] = change(entry)
            elif isinstance(entry, Mapping) and isinstance(entry.get("file"), str):
                entries[place] = {**entry, "file": change(entry["file"])}

    def problems(self, class_names: Sequence[str], dataset: DatasetConfig | None = None) -> Iterator[str]:
        """Yield what is wrong with the choice.

        Args:
            class_names: of the data set, in index order.
            dataset: tells which sub-classes and columns there are; None: it has none.
        """
        given = [name for name in CHOICES if getattr(self, name) is not None]
        if self.of_samples and len(given) > 1:
            words = " and ".join(f"forget.{name}={getattr(self, name)}" for name in given)
            yield f"{words}: set all but one to null"
        if self.value is not None and self.column is None:
            yield f"forget.value={self.value}: needs forget.column, the column that says it"
        if self.of_samples:
            yield from self._problems_of_samples(dataset)
        elif self.sequence is not None:
            yield from self._problems_of_sequence(class_names, dataset)
        elif self.random_k is not None:
            if self.classes:
                yield f"forget.classes={self.classes} and forget.random_k={self.random_k}: set one of the two to null"
            if self.random_k >= len(class_names):
                yield f"forget.random_k={self.random_k}: must be below the number of classes, {len(class_names)}"
        elif not self.classes:
            yield f"forget.classes={self.classes}: name at least one class to forget, or samples: share, count or file"
        else:
            yield from listed_problems("forget.classes", self.classes, class_names)

    def _problems_of_samples(self, dataset: DatasetConfig | None) -> Iterator[str]:
        if self.file is not None:
            try:
                IndexFile.read(Path(self.file))
            except ConfigError as error:
                yield from error.problems
        try:
            if self.subclasses is not None:
                yield from _problems_of_subclasses(self.subclasses, dataset.subclass_names() if dataset else ())
            if self.column is not None:
                yield from self._problems_of_column(dataset)
        except DataError as error:
            yield str(error)

    def _problems_of_column(self, dataset: DatasetConfig | None) -> Iterator[str]:
        columns = dataset.attribute_columns() if dataset else ()
        if self.column not in columns:
            known = f"known are {', '.join(columns)}" if columns else "the data set has no attributes.csv"
            yield f"forget.column={self.column}: there is no such column; {known}"
        elif self.value is None:
            yield f"forget.value=null: say which value of the column {self.column} is to be forgotten"
        elif dataset is not None:
            values = {value for of_split in dataset.attribute(str(self.column)).values() for value in of_split}
            yield from self._problems_of_value(sorted(values))

    def _problems_of_value(self, values: Sequence[str]) -> Iterator[str]:
        word = str(self.value)
        meant = [] if isinstance(self.value, str) else [value for value in values if read_as(value, self.value)]
        if [value for value in meant if value != word]:
            yield (
                f"forget.value={word}: without quotes it is read as {word}, and the column {self.column} says "
                f"{' and '.join(map(repr, meant))}; write "
                + " or ".join(f"\"forget.value='{value}'\"" for value in meant)
                + f" (in forget.sequence: value:'{meant[0]}')"
            )
        elif word not in values:
            yield (
                f"forget.value={word}: no sample has it in the column {self.column}; "
                f"did you mean {nearest(word, values)}?"
            )

    def _problems_of_sequence(self, class_names: Sequence[str], dataset: DatasetConfig | None) -> Iterator[str]:
        entries = self.sequence or []
        groups = [entry for entry in entries if isinstance(entry, list)]
        if not entries or not all(groups):
            yield f"forget.sequence={entries}: list groups of at least one class, such as [[0],[1],[2]]"
        named = (entry.get("classes") for entry in entries if isinstance(entry, Mapping))
        groups += [classes for classes in named if isinstance(classes, list)]
        yield from listed_problems("forget.sequence", [entry for group in groups for entry in group], class_names)
        for place, entry in enumerate(entries):
            if isinstance(entry, list):
                continue
            try:
                request = _request(entry)
            except ConfigError as error:
                yield from (f"forget.sequence[{place}]: {problem}" for problem in error.problems)
                continue
            yield from problems(request, f"forget.sequence[{place}]")
            yield from request.problems(class_names, dataset)

    def resolve(self, class_names: Sequence[str], seed: int) -> tuple[int, ...]:
        """Class indices in ascending order, of all steps together.

        Args:
            class_names: names in index order; the choice must have no ``problems`` for them.
            seed: the run's base seed, used by ``random_k`` alone.
        """
        return tuple(sorted(index for group in self.steps(class_names, seed) for index in group))

    def steps(self, class_names: Sequence[str], seed: int) -> list[tuple[int, ...]]:
        """The groups of class indices that are forgotten one after another; one group but for a ``sequence``.

        A group is empty where samples are forgotten.
        """
        return [request._classes(class_names, seed) for request in self.requests()]

    def _classes(self, class_names: Sequence[str], seed: int) -> tuple[int, ...]:
        if self.of_samples:
            return ()
        if self.random_k is not None:
            drawn = torch.randperm(len(class_names), generator=generator(seed, "forget classes"))[: self.random_k]
            return tuple(sorted(drawn.tolist()))
        return indices_of(self.classes or [], class_names)

    def by_index(self, class_names: Callable[[], Sequence[str]], dataset: DatasetConfig | None = None) -> ForgetConfig:
        """The same choice as sorted indices, or a file by its content: one choice has one run id, however written.

        Args:
            class_names: gives the names in index order; asked only if a class is given by name.
            dataset: gives the names of sub-classes, and which samples they and the values of a column hold.
        """
        if self.file is not None:
            return replace(self, file=IndexFile.read(Path(self.file)).content)
        if self.sequence is not None:
            entries = [_entry(entry, class_names, dataset) for entry in self.sequence]
            return replace(self, classes=None, random_k=None, sequence=entries)  # which the sequence replaces
        if self.subclasses is not None and dataset is not None:
            chosen = _sorted_indices(self.subclasses, dataset.subclass_names)
            return replace(self, subclasses=chosen, column=dataset.subclass_identity())
        if self.column is not None and dataset is not None:
            column = f"{self.column} {attribute_hash(dataset.attribute(self.column))}"
            return replace(self, column=column, value=None if self.value is None else str(self.value))
        return replace(self, classes=_sorted_indices(self.classes, class_names)) if self.classes else self


def _request(entry: Any) -> ForgetConfig:
    """The request that an entry of a sequence is.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(entry, list):
        return ForgetConfig(classes=entry)
    if isinstance(entry, str):
        if Path(entry).suffix == "":
            raise ConfigError([f"{entry!r} is no file of indices; a class is written [{entry}]"])
        return ForgetConfig(classes=None, file=entry)
    if not isinstance(entry, Mapping):
        raise ConfigError([f"{entry!r} is no request; write [{entry}] for a class"])
    unknown = [str(key) for key in entry if key not in OF_A_SEQUENCE]
    if unknown:
        raise ConfigError([f"{', '.join(unknown)}: no key of a request; known are {', '.join(OF_A_SEQUENCE)}"])
    wrong = [
        f"{key}={value!r}: must be {_kind(OF_A_SEQUENCE[key])}"
        for key, value in entry.items()
        if value is not None
        and (not isinstance(value, OF_A_SEQUENCE[key]) or (isinstance(value, bool) and key != "value"))
    ]
    if wrong:
        raise ConfigError(wrong)
    return ForgetConfig(**{"classes": None, **entry})


def _kind(of: Any) -> str:
    """A type in words."""
    kinds = {list: "a list", str: "a word", int: "a whole number", OF_A_SEQUENCE["value"]: "a word or a number"}
    return kinds.get(of, "a number")


def _entry(entry: Any, class_names: Callable[[], Sequence[str]], dataset: DatasetConfig | None) -> Any:
    """An entry of a sequence as ``by_index`` writes it."""
    if isinstance(entry, list):
        return _sorted_indices(entry, class_names)
    request = _request(entry).by_index(class_names, dataset)
    given = {name: getattr(request, name) for name in OF_A_SEQUENCE if getattr(request, name) is not None}
    return request.classes if list(given) == ["classes"] else given


def _sorted_indices(group: Sequence[Any], names: Callable[[], Sequence[str]]) -> list[Any]:
    if all(type(entry) is int for entry in group):
        return sorted(group)
    known = names()
    return list(indices_of(group, known)) if not any(listed_problems("", group, known)) else list(group)


def _problems_of_subclasses(entries: Sequence[Any], names: Sequence[str]) -> Iterator[str]:
    key = f"forget.subclasses={list(entries)}"
    if not names:
        yield f"{key}: the data set has no {SUBCLASS}es; dataset=cifar20, cifar20_png and two_level_folder do"
    elif not entries:
        yield f"{key}: name at least one {SUBCLASS}"
    else:
        yield from listed_problems("forget.subclasses", entries, names)
