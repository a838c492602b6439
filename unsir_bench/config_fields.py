"""Constraints declared beside a dataclass field, and the walk that reports every violation at once.

Each configurable object is a dataclass whose fields are its YAML keys. ``number`` and ``choice`` state what a field
accepts. ``not_hashed`` marks a field that cannot change a result (a path, a thread count) and stays out of hashes;
``hashed_if_not_default`` marks a field added after records existed: at its default it stays out of hashes, so that run
ids and store keys from before remain valid. A number may also state the interval in which ``unsir-bench tune`` looks.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator, Sequence
from typing import Any

CHECK = "check"
WHOLE_NUMBERS = 2**63  # are smaller: libraries of reports hold no larger ones
TOO_LARGE = f"is more than a record holds; choose a number below {WHOLE_NUMBERS}"
SEARCH = "search"
_NOT_HASHED = "not_hashed"
_HASHED_IF_NOT_DEFAULT = "hashed_if_not_default"


@dataclasses.dataclass(frozen=True)
class Range:
    """A closed or half-open interval of numbers; ``None`` leaves that side open."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None

    def complaint(self, value: Any) -> str | None:
        """Say what is wrong with ``value``, or return None."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "must be a number"
        if not math.isfinite(value):
            return "must be a finite number"
        inside = (
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )
        return None if inside else f"must be {self}"

    def __str__(self) -> str:
        words = (("above", "above"), ("at_least", "at least"), ("below", "below"), ("at_most", "at most"))
        return " and ".join(f"{word} {getattr(self, name)}" for name, word in words if getattr(self, name) is not None)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]

    def complaint(self, value: Any) -> str | None:
        """Say what is wrong with ``value``, or return None."""
        return None if value in self.options else f"must be one of {', '.join(self.options)}"


def number(default: float | None, *, search: tuple[float, float] | None = None, **bounds: float) -> Any:
    """A dataclass field holding a number, or None where its type allows that.

    Args:
        default: of the field.
        search: the lowest and the highest value that tuning tries, on a logarithmic scale if both are above 0 and a
            factor of ten or more apart; None: tuning leaves the field alone.
        bounds: ``above`` or ``at_least``, ``below`` or ``at_most``.

    Raises:
        ValueError: an end of ``search`` is outside the bounds.
    """
    check = Range(**bounds)
    for end in search or ():
        if check.complaint(end):
            raise ValueError(f"search={search}: {end} {check.complaint(end)}")
    return dataclasses.field(default=default, metadata={CHECK: check, **({SEARCH: search} if search else {})})


def choice(default: str, options: Sequence[str]) -> Any:
    """A dataclass field holding one of ``options``."""
    return dataclasses.field(default=default, metadata={CHECK: Choice(tuple(options))})


def not_hashed(field: Any) -> Any:
    """Mark a field that cannot change a result: it stays out of run ids and store keys."""
    if not isinstance(field, dataclasses.Field):
        field = dataclasses.field(default=field)
    return dataclasses.field(
        default=field.default, default_factory=field.default_factory, metadata={**field.metadata, _NOT_HASHED: True}
    )


def hashed_if_not_default(field: Any) -> Any:
    """Mark a field added after results existed: at its default it stays out of run ids and store keys.

    Run ids and store keys from before it existed so remain valid.
    """
    if not isinstance(field, dataclasses.Field):
        field = dataclasses.field(default=field)
    return dataclasses.field(
        default=field.default,
        default_factory=field.default_factory,
        metadata={**field.metadata, _HASHED_IF_NOT_DEFAULT: True},
    )


def problems(node: Any, key: str) -> Iterator[str]:
    """Yield one line for each field of ``node``, or of a dataclass within it, that breaks its constraint.

    No whole number may be larger than a record can hold.

    A dataclass may add checks across fields by a method ``check(key)`` that yields further lines.
    """
    for field in dataclasses.fields(node):
        path, value = f"{key}.{field.name}", getattr(node, field.name)
        if dataclasses.is_dataclass(value):
            yield from problems(value, path)
        elif type(value) is int and abs(value) >= WHOLE_NUMBERS:
            yield f"{path}={value}: {TOO_LARGE}"
        elif value is not None and CHECK in field.metadata:
            complaint = field.metadata[CHECK].complaint(value)
            if complaint:
                yield f"{path}={value}: {complaint}"
    if hasattr(node, "check"):
        yield from node.check(key)


def search_ranges(node: Any, key: str) -> Iterator[tuple[str, tuple[float, float], bool]]:
    """Yield what tuning may vary in ``node`` and dataclasses within it: key, (lowest, highest), whether whole numbers.

    A number that is None is left alone, since there None means something else than any number.
    """
    for field in dataclasses.fields(node):
        path, value = f"{key}.{field.name}", getattr(node, field.name)
        if dataclasses.is_dataclass(value):
            yield from search_ranges(value, path)
        elif value is not None and SEARCH in field.metadata:
            yield path, field.metadata[SEARCH], isinstance(value, int)


def identity(node: Any) -> Any:
    """Everything in ``node`` that can change a result, as plain dictionaries with the class name.

    A dataclass whose fields name content elsewhere (a folder, a file) describes it in a method ``content_identity()``.
    """
    if not dataclasses.is_dataclass(node):
        return node
    kept = (field.name for field in dataclasses.fields(node) if _takes_part(field, getattr(node, field.name)))
    described = {"class": type(node).__name__, **{name: identity(getattr(node, name)) for name in kept}}
    if hasattr(node, "content_identity"):
        described["content"] = node.content_identity()
    return described


def _takes_part(field: dataclasses.Field[Any], value: Any) -> bool:
    at_default = field.metadata.get(_HASHED_IF_NOT_DEFAULT) and value == default_of(field)
    return not (field.metadata.get(_NOT_HASHED) or at_default)


def default_of(field: dataclasses.Field[Any]) -> Any:
    """A field's default, made by its factory if it has one; ``dataclasses.MISSING`` if it has neither."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def nearest(word: str, known: Sequence[str], count: int = 3) -> str:
    """The ``count`` entries of ``known`` most like ``word``, separated by commas, for an error message."""
    close = difflib.get_close_matches(word, known, n=count, cutoff=0.3) or list(known)[:count]
    return ", ".join(close)
