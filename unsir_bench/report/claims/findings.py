"""What is found of a claim: a verdict for one group of runs, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from unsir_bench.records import RunRecord

FAMILIES = {
    "vit": ("vit", "deit", "beit", "swin"),
    "cnn": ("resnet", "allcnn", "mobilenet", "efficientnet", "vgg", "densenet", "convnext", "regnet"),
}


class ClaimVerdict(StrEnum):
    """What the records say of a claim: *undecided* where it was measured and more seeds or test samples are needed."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Finding:
    """A verdict and what it rests on.

    Attributes:
        number: mean over seeds (geometric for ratios), or the count that settles the claim; None where there is none.
        low, high: 95 % interval of the mean; None for counts and for fewer than two seeds.
        n: seeds, or runs for a claim that a run settles.
        criterion: what would make it hold, in words.
        reason: why it is undecided or was not tested, and what else to know.
        runs: ids of the runs behind the number; ``not_done`` those of the same group that gave none, with their status.
        published: the paper's number; ``published_is_same`` whether it is of this data, network, recipe and scale.
        at_paper_scale: whether the runs have the paper's scale and recipe, and no JPEG copies of its data.
    """

    claim: str
    dataset: str
    model: str
    preset: str
    setting: str
    scale: str
    conditions: str
    forget: str
    verdict: ClaimVerdict
    number: float | None
    low: float | None
    high: float | None
    n: int
    criterion: str
    reason: str
    runs: list[str]
    not_done: list[str]
    published: float | None
    published_is_same: bool
    at_paper_scale: bool


@dataclass(frozen=True)
class GroupFinding:
    """A finding with the keys that joint claims and controls are matched by; words may read alike where keys differ.

    Attributes:
        key: equal for findings of the same conditions, network included; empty for a claim without runs.
        across_networks: the same without the network.
    """

    finding: Finding
    key: str = ""
    across_networks: str = ""


def family(record: RunRecord) -> str:
    """``vit``, ``cnn`` or ``other``, by the name of the network."""
    name = str((record.config.get("model") or {}).get("arch") or record.model).lower()
    return next((kind for kind, parts in FAMILIES.items() if any(part in name for part in parts)), "other")
