"""ToW and NoMUS by hand, at their ends, and what they refuse."""

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.summary_scores import nomus, nomus_score, tug_of_war, tug_of_war_score

OUTSIDE = [-1e-9, 1 + 1e-9, 95.0, math.nan, math.inf]


def test_tug_of_war_computed_by_hand():
    assert tug_of_war([0.1, 0.9, 0.75], [0.0, 1.0, 0.5]) == pytest.approx(0.9 * 0.9 * 0.75)


def test_tug_of_war_of_the_retrained_model_itself_is_1():
    assert tug_of_war([0.03, 0.97, 0.8], (0.03, 0.97, 0.8)) == 1


@pytest.mark.parametrize("part", range(3))
def test_one_part_that_fails_wholly_brings_tug_of_war_to_0(part: int):
    unlearned = [0.0, 0.0, 0.0]
    unlearned[part] = 1.0
    assert tug_of_war(unlearned, [0.0, 0.0, 0.0]) == 0


def test_tug_of_war_counts_a_gap_in_either_direction_and_stays_in_its_range():
    models = list(itertools.product((0.0, 0.3, 1.0), repeat=3))
    for one, other in itertools.combinations(models, 2):
        assert tug_of_war(one, other) == tug_of_war(other, one)
        assert 0 <= tug_of_war(one, other) < 1


@pytest.mark.parametrize("bad", OUTSIDE)
@pytest.mark.parametrize("part", range(3))
def test_tug_of_war_refuses_accuracies_out_of_range(bad: float, part: int):
    wrong, right = [0.0, 1.0, 0.5], [0.0, 1.0, 0.5]
    wrong[part] = bad
    with pytest.raises(ValueError, match=r"unlearned accuracy must be a fraction in \[0, 1\]"):
        tug_of_war(wrong, right)
    with pytest.raises(ValueError, match=r"retrained accuracy must be a fraction in \[0, 1\]"):
        tug_of_war(right, wrong)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_tug_of_war_takes_three_accuracies(count: int):
    with pytest.raises(ValueError, match=f"unlearned must be .* not {count} values"):
        tug_of_war([0.5] * count, [0.5] * count)
    with pytest.raises(ValueError, match=f"retrained must be .* not {count} values"):
        tug_of_war([0.5] * 3, [0.5] * count)


@pytest.mark.parametrize(
    ("accuracy", "attack", "expected"),
    [
        (1.0, 0.5, 1.0),  # all right, and the attack guesses
        (0.0, 1.0, 0.0),  # all wrong, and the attack knows
        (0.0, 0.0, 0.0),  # an attack that is always wrong knows as much
        (0.8, 0.5, 0.9),
        (0.8, 0.6, 0.8),
        (0.8, 0.4, 0.8),
    ],
)
def test_nomus_computed_by_hand(accuracy: float, attack: float, expected: float):
    assert nomus(accuracy, attack) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bad", OUTSIDE)
def test_nomus_refuses_values_out_of_range(bad: float):
    with pytest.raises(ValueError, match="test_accuracy must be a fraction"):
        nomus(bad, 0.5)
    with pytest.raises(ValueError, match="attack_accuracy must be a fraction"):
        nomus(0.5, bad)


MEASURED = {
    "acc_forget_train": 0.1, "acc_retain_train": 0.9, "acc_retain_test": 0.8, "acc_forget_test": 0.3,
    "retrain_acc_forget_train": 0.0, "retrain_acc_retain_train": 1.0, "retrain_acc_retain_test": 0.6,
    "retrain_acc_forget_test": 0.3, "mia_loss_accuracy": 0.6,
}  # fmt: skip


def of(values: dict[str, float]) -> Any:
    return SimpleNamespace(values=values)


def test_the_scores_of_a_record_are_of_its_own_numbers_and_retrains():
    assert tug_of_war_score(of(MEASURED)) == pytest.approx(0.9 * 0.9 * 0.8)
    assert nomus_score(of(MEASURED)) == pytest.approx(0.8)  # (0.8 + 1 - 0.2) / 2


@pytest.mark.parametrize("missing", ["acc_retain_test", "retrain_acc_retain_train"])
def test_a_score_without_its_parts_is_null_with_their_names(missing: str):
    with pytest.raises(MetricUnavailable, match=f"needs {missing}, which"):
        tug_of_war_score(of({name: value for name, value in MEASURED.items() if name != missing}))
