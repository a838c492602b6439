"""The margins up to which a gap to retraining counts as none, from `claims/margins.yaml`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from unsir_bench.evaluation.registry import MetricCard

FILE = "margins.yaml"


@dataclass(frozen=True)
class Margin:
    """A margin in the record's unit, and why it is that."""

    margin: float
    reason: str


def read_margins() -> dict[str, Margin]:
    """The margins that are shipped, by field.

    Raises:
        ValueError: an entry lacks its reason, or its margin is not a positive number.
    """
    return parse_margins(files("unsir_bench.report.claims").joinpath(FILE).read_text(encoding="utf-8"))


def parse_margins(text: str) -> dict[str, Margin]:
    """The margins of a YAML text; see ``read_margins``."""
    content = yaml.safe_load(text)
    if not isinstance(content, dict):
        raise ValueError(f"{FILE}: no mapping of fields to margins")
    margins = {}
    for field, entry in content.items():
        try:
            found = Margin(**entry)
        except TypeError as error:
            raise ValueError(f"{FILE}: {field}: {error}; give `margin` and `reason`") from error
        if not isinstance(found.margin, int | float) or not 0 < found.margin < math.inf:
            raise ValueError(f"{FILE}: {field}: margin={found.margin!r}: must be a positive number")
        if not isinstance(found.reason, str) or not found.reason.strip():
            raise ValueError(f"{FILE}: {field}: reason={found.reason!r}: say why the margin is that")
        margins[str(field)] = found
    return margins


def margin_of(card: MetricCard, margins: dict[str, Margin]) -> float:
    """A metric's margin; for one of another package that of its card."""
    known = margins.get(card.field)
    return known.margin if known else card.minimum_margin
