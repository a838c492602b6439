"""What lies nearest to what was forgotten, by hand and by brute force."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.collateral_damage import (
    collateral_damage,
    nearest_classes,
    nearest_samples,
    nearest_to_forgotten,
)


def test_the_nearest_class_is_that_of_the_nearest_mean_and_not_of_the_nearest_sample() -> None:
    features = torch.tensor([[0.0], [2.0], [3.0], [9.0], [1.1], [30.0]])
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    # Means 1, 6 and 15.55; the sample nearest to class 0's mean is one of class 2.
    assert nearest_classes(features, labels, [0], [1, 2]) == [1]
    assert nearest_classes(features, labels, [0, 2], [1]) == [1]
    assert nearest_classes(features, labels, [0], [2, 7]) == [2]  # 7 has no sample
    with pytest.raises(MetricUnavailable):
        nearest_classes(features, labels, [5], [1])


@pytest.mark.parametrize("seed", range(3))
def test_the_nearest_samples_are_those_of_a_plain_loop(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    forgotten, retained = torch.randn(17, 5, generator=draws), torch.randn(40, 5, generator=draws)
    expected = set()
    for one in forgotten.double():
        distances = [float(((one - other) ** 2).sum()) for other in retained.double()]
        expected.add(distances.index(min(distances)))
    assert nearest_samples(forgotten, retained).tolist() == sorted(expected)


LABELS = {"train": torch.tensor([0, 0, 1, 1, 2, 2]), "test": torch.tensor([0, 1, 1, 2, 2, 0])}
FEATURES = {
    "train": torch.tensor([[0.0], [0.2], [1.0], [1.2], [5.0], [5.2]]),
    "test": torch.tensor([[0.1], [1.1], [0.19], [5.1], [9.0], [0.0]]),
}


def inputs(
    classes: tuple[int, ...] = (), superclasses: tuple[int, ...] = (), forget: tuple[int, ...] = (1,),
    retain_test: tuple[int, ...] = (0, 1, 2, 3, 4), features: dict[str, Tensor] | None = FEATURES,
) -> Any:  # fmt: skip
    split = SimpleNamespace(classes=classes, superclasses=superclasses, retain_test=torch.tensor(retain_test).long())
    run = SimpleNamespace(
        split=split, labels=LABELS, original=None, context=None, data=SimpleNamespace(class_names=("a", "b", "c")),
        references=SimpleNamespace(features=lambda original, context: features),
        rows=lambda tensors, part: tensors["train"][list(forget)],
    )  # fmt: skip
    logits = torch.nn.functional.one_hot(torch.tensor([0, 1, 0, 2, 0, 0]), 3).float()
    kept = tuple(index for index in range(3) if index not in classes)
    return SimpleNamespace(run=run, model=SimpleNamespace(logits={"test": logits}), retain_classes=kept)


def test_of_classes_the_nearest_class_of_a_sub_class_its_siblings_of_samples_their_neighbours() -> None:
    of_classes = inputs(classes=(0,), retain_test=(1, 2, 3, 4))
    assert nearest_to_forgotten(of_classes)[0].tolist() == [1, 2]  # the test samples of class 1
    assert collateral_damage(of_classes) == {
        "acc_nearest_test": 0.5, "nearest": {"samples": 2, "classes": ["b"]},
    }  # fmt: skip
    siblings = inputs(superclasses=(2,), features=None)
    assert collateral_damage(siblings) == {"acc_nearest_test": 0.5, "nearest": {"samples": 2, "classes": ["c"]}}
    samples = inputs(forget=(1, 5))  # at 0.2 and 5.2: nearest retained test samples are those at 0.19 and 5.1
    assert nearest_to_forgotten(samples)[0].tolist() == [2, 3]
    assert collateral_damage(samples) == {"acc_nearest_test": 0.5, "nearest": {"samples": 2, "classes": []}}


@pytest.mark.parametrize(
    "wrong",
    [{"retain_test": ()}, {"features": None}, {"features": {"train": torch.full((6, 1), torch.nan)}},
     {"superclasses": (2,), "retain_test": (0, 1)}],
    ids=["nothing retained", "no features", "NaN", "no sibling in the test split"],
)  # fmt: skip
def test_what_cannot_be_told_is_null_with_a_reason(wrong: dict[str, Any]) -> None:
    with pytest.raises(MetricUnavailable):
        collateral_damage(inputs(**wrong))
