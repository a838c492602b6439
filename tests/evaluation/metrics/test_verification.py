"""Verification by photos: rates by counting pairs in a plain loop, by hand and by theory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics import verification as module
from unsir_bench.evaluation.metrics.verification import (
    Pairs,
    compared,
    equal_error_rate,
    match_threshold,
    verification,
)
from unsir_bench.report.tables.verdicts import verdict_rows


def pairs(genuine: list[float], impostor: list[float]) -> Pairs:
    return Pairs(np.array(genuine + impostor), np.array([True] * len(genuine) + [False] * len(impostor)))


def test_every_probe_is_compared_with_every_enrolled_photo_by_its_cosine() -> None:
    draws = torch.Generator().manual_seed(0)
    probes, enrolled = torch.randn(3, 4, generator=draws), torch.randn(5, 4, generator=draws)
    probes[1] = 0
    labels, enrolled_labels = torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1, 2, 9])
    found = compared(probes, labels, enrolled, enrolled_labels)
    place = 0
    for one, label in zip(probes.double(), labels, strict=True):
        for other, other_label in zip(enrolled.double(), enrolled_labels, strict=True):
            norms = float(one.norm() * other.norm())
            expected = float(one @ other) / norms if norms else 0.0
            assert found.similarity[place] == pytest.approx(expected, abs=1e-12)
            assert found.genuine[place] == (label == other_label)
            place += 1
    assert place == len(found.similarity)


@pytest.mark.parametrize(
    ("genuine", "impostor", "expected"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.0),
        ([0.1, 0.2], [0.9, 0.8], 1.0),
        ([0.5, 0.5], [0.5, 0.5, 0.5], 0.5),  # features that say nothing
        ([0.9, 0.8, 0.7, 0.2], [0.1, 0.15, 0.3, 0.05], 0.25),  # one of four on either side
    ],
)
def test_equal_error_rates_by_hand(genuine: list[float], impostor: list[float], expected: float) -> None:
    assert equal_error_rate(pairs(genuine, impostor)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_the_equal_error_rate_lies_between_the_rates_of_a_plain_loop_where_they_cross(seed: int) -> None:
    draws = np.random.default_rng(seed)
    genuine, impostor = list(draws.normal(1, 1, 60)), list(draws.normal(0, 1, 400))
    crossing = []
    for threshold in sorted(genuine + impostor):
        refused = sum(value < threshold for value in genuine) / len(genuine)
        matched = sum(value >= threshold for value in impostor) / len(impostor)
        crossing.append((abs(refused - matched), refused, matched))
    _, refused, matched = min(crossing)
    step = 1 / len(genuine)
    assert min(refused, matched) - step <= equal_error_rate(pairs(genuine, impostor)) <= max(refused, matched) + step


def test_the_equal_error_rate_of_two_normal_distributions_is_that_of_theory() -> None:
    draws = np.random.default_rng(1)
    found = equal_error_rate(pairs(list(draws.normal(2, 1, 40_000)), list(draws.normal(0, 1, 40_000))))
    assert found == pytest.approx(norm.cdf(-1), abs=0.005)


def test_the_threshold_matches_the_most_pairs_that_the_rate_allows() -> None:
    impostor = [number / 1000 for number in range(1000)]
    threshold = match_threshold(pairs([2.0], impostor))
    assert sum(value > threshold for value in impostor) == 10
    assert match_threshold(pairs([0.5], [0.9, 0.1])) == 0.9  # one of two would be too many


def inputs(features: dict[str, Tensor], classes: tuple[int, ...] = (0,)) -> Any:
    labels = {"train": torch.tensor([0, 0, 1, 1, 2, 2]), "test": torch.tensor([0, 0, 1, 2])}

    def rows(tensors: dict[str, Tensor], part: str) -> Tensor:
        kind, _, split = part.partition("_")
        forgotten = torch.isin(labels[split], torch.tensor(classes, dtype=torch.int64))
        return tensors[split][forgotten if kind == "forget" else ~forgotten]

    run = SimpleNamespace(split=SimpleNamespace(classes=classes), rows=rows, forgotten_classes=classes)
    return SimpleNamespace(run=run, features=features, labels=lambda part: rows(labels, part), seed=0)


def directions(*degrees: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()], dim=1).float()


def test_a_forgotten_identity_that_still_matches_is_told_from_one_that_does_not() -> None:
    enrolled = directions(0, 2, 60, 62, 120, 122)
    kept = verification(inputs({"train": enrolled, "test": directions(1, 3, 61, 121)}))
    assert kept["verification_eer_forget"] == kept["verification_eer_retain"] == 0
    assert kept["verification_match_forget"] == 1
    assert kept["verification"] == {
        "forget": {"probes": 2, "enrolled": 6, "genuine": 4, "impostor": 8},
        "retain": {"probes": 2, "enrolled": 4, "genuine": 4, "impostor": 4},
    }
    # The two photos of identity 0 now point where identities 1 and 2 are.
    gone = verification(inputs({"train": enrolled, "test": directions(61, 121, 61, 121)}))
    assert gone["verification_eer_retain"] == 0
    assert gone["verification_match_forget"] == 0
    assert gone["verification_eer_forget"] > 0.4


def test_sides_too_large_are_drawn_from_with_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = torch.Generator().manual_seed(0)
    given = inputs({"train": torch.randn(6, 3, generator=draws), "test": torch.randn(4, 3, generator=draws)})
    whole = verification(given)["verification"]["forget"]
    assert whole == {"probes": 2, "enrolled": 6, "genuine": 4, "impostor": 8}
    monkeypatch.setattr(module, "MOST_PER_SIDE", 3)
    drawn = verification(given)["verification"]["forget"]
    # Two enrolled of the forgotten identity, three of the four others.
    assert drawn == {"probes": 2, "enrolled": 5, "genuine": 4, "impostor": 6}
    assert verification(given) == verification(given)


FEATURES = {"train": directions(0, 2, 60, 62, 120, 122), "test": directions(1, 3, 61, 121)}


@pytest.mark.parametrize(
    ("features", "classes"),
    [(FEATURES, ()), (FEATURES, (1, 2)), ({**FEATURES, "test": torch.full((4, 2), torch.nan)}, (0,))],
    ids=["samples, not classes", "one identity is left", "NaN"],
)
def test_what_cannot_be_told_is_null_with_a_reason(features: dict[str, Tensor], classes: tuple[int, ...]) -> None:
    with pytest.raises(MetricUnavailable):
        verification(inputs(features, classes))


def verdicts(**gaps: list[float]) -> dict[str, str]:
    """The verdict table's row of a method whose retrained models have the value 0.4 in each field."""
    where = {"dataset": "faces", "model": "net", "forget": "drawn (1)", "setting": "", "method": "a", "status": "done"}
    runs = [
        {"seed": 2 * seed, **{f"gap_{field}": gap for field, gap in zip(gaps, values, strict=True)}, **where}
        | {f"{prefix}{field}": 0.4 for field in gaps for prefix in ("retrain_", "floor_")}
        for seed, values in enumerate(zip(*gaps.values(), strict=True))
    ]
    [row] = verdict_rows(pd.DataFrame(runs))
    return row


@pytest.mark.parametrize(
    ("field", "title", "margin"),
    [
        ("verification_eer_forget", "EER of forgotten % (± 2)", 0.02),
        ("verification_match_forget", "forgotten still matched % (± 3)", 0.03),
    ],
)
@pytest.mark.parametrize(("times", "mark"), [(0.1, "="), (5.0, "≠"), (1.0, "?")])
def test_verdicts_judge_the_forgotten_identities(
    field: str, title: str, margin: float, times: float, mark: str
) -> None:
    # With a spread of a hundredth of the margin, seeds tell a tenth and five times of it from the margin itself.
    spread = [-0.01, 0.01, -0.01, 0.01]
    assert verdicts(**{field: [margin * (times + each) for each in spread]})[title].startswith(mark)


def test_of_the_retained_identities_no_verdict_is_given() -> None:
    row = verdicts(verification_eer_forget=[0.0, 0.001], verification_eer_retain=[0.0, 0.001])
    assert not any("of the rest" in title for title in row)
