"""The paper's claims as `claims.yaml` states them: what each says, and what would settle it."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files

import yaml

RETRAIN_COMPARISONS = ("not_below_retrain", "not_above_retrain", "equivalent_to_retrain")
JOINT = ("all_hold", "both_hold")
COMPARISONS = ("below", "above", "within", *RETRAIN_COMPARISONS, *JOINT)


@dataclass(frozen=True)
class Claim:
    """One entry of ``claims.yaml``, whose head and comments say what each key means."""

    id: str
    claim: str
    source: str
    quantity: str | list[str]
    methods: list[str]
    forget: str
    families: list[str]
    settled_by: str
    comparison: str
    needs: dict[str, float]
    note: str
    published: str | None = None
    limit: float | list[float] | None = None
    tolerance: float | None = None
    datasets: list[str] = field(default_factory=lambda: ["*"])
    part: bool = False


def read_claims() -> list[Claim]:
    """The claims that are shipped.

    Raises:
        ValueError: an entry lacks a key or names a comparison or quantity that is not known.
    """
    return parse_claims(files(__package__).joinpath("claims.yaml").read_text(encoding="utf-8"))


def parse_claims(text: str) -> list[Claim]:
    """The claims of a YAML text; see ``read_claims``."""
    content = yaml.safe_load(text)
    if not isinstance(content, dict):
        raise ValueError("claims: no mapping of ids to claims")
    claims = []
    for name, entry in content.items():
        try:
            claim = Claim(id=str(name), **entry)
        except TypeError as error:
            raise ValueError(f"claims: {name}: {error}") from error
        problem = _problem(claim)
        if problem:
            raise ValueError(f"claims: {name}: {problem}")
        claims.append(claim)
    ids = {claim.id for claim in claims}
    for claim in claims:
        if isinstance(claim.quantity, list) and not set(claim.quantity) <= ids:
            raise ValueError(f"claims: {claim.id}: no such claims: {sorted(set(claim.quantity) - ids)}")
    return claims


def _problem(claim: Claim) -> str:
    allowed = {
        "comparison": COMPARISONS,
        "forget": ("each", "together"),
        "settled_by": ("seeds", "run"),
        "source": ("paper", "third party"),
    }
    for key, words in allowed.items():
        if getattr(claim, key) not in words:
            return f"{key}={getattr(claim, key)!r} is none of {', '.join(words)}"
    if (claim.comparison in JOINT) != isinstance(claim.quantity, list):
        return f"a list of claims is compared by {' or '.join(JOINT)}, and nothing else is"
    if claim.comparison in RETRAIN_COMPARISONS and not (claim.tolerance or 0) > 0:
        return f"{claim.comparison} needs a tolerance above 0"
    pair = isinstance(claim.limit, list) and len(claim.limit) == 2
    number = isinstance(claim.limit, int | float)
    if claim.settled_by == "run" and claim.comparison != "within":
        return "what a run settles is compared by within"
    if (claim.comparison == "within" and not pair) or (claim.comparison in ("below", "above") and not number):
        return f"{claim.comparison} needs another limit than {claim.limit!r}"
    return ""
