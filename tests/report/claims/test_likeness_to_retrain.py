"""Claims of likeness to retraining: predictions, layers and distances, with their margins."""

import math
from collections.abc import Mapping, Sequence

import pytest

from tests.report.claims.claim_records import finding, record
from unsir_bench.records import RunRecord
from unsir_bench.report.claims.findings import ClaimVerdict


@pytest.mark.parametrize(
    ("name", "missing"),
    [("predictions_spread", "retrain_forget_prediction_entropy"),
     ("predictions_not_gathered", "retrain_forget_prediction_largest_share"),
     ("total_distance_like_retrain", "retrain_weight_distance_to_original_sum"),
     ("layer_distances_like_retrain", "")],
)  # fmt: skip
def test_without_a_retrained_reference_nothing_is_said_of_likeness_to_it(name: str, missing: str) -> None:
    own = {"forget_prediction_entropy": 0.9, "forget_prediction_largest_share": 0.2,
           "weight_distance_to_original_sum": 3.0, "retrain_acc_retain_test": None}  # fmt: skip
    found = finding(name, [record(seed, own) for seed in range(3)])
    assert found.verdict is ClaimVerdict.NOT_TESTED and found.reason == "no retrained reference was measured"
    assert found.number is None and missing not in found.reason.split()


def test_a_note_of_the_record_explains_a_missing_number() -> None:
    noted = record(0, {"forget_prediction_entropy": None}, metric_notes={"forget_prediction_entropy": "one class left"})
    assert "one class left" in finding("predictions_spread", [noted]).reason


def entropies(pairs: Sequence[tuple[float, float]], floor: float = 0.7) -> list[RunRecord]:
    name = "forget_prediction_entropy"
    return [
        record(seed, {name: own, f"retrain_{name}": retrained, f"floor_{name}": floor})
        for seed, (own, retrained) in enumerate(pairs)
    ]


def test_the_margin_to_retrain_was_stated_before_and_two_retrained_models_may_forbid_it() -> None:
    gaps = [(0.65, 0.7), (0.651, 0.7)]  # -0.0495 ± 0.00635
    assert finding("predictions_spread", entropies(gaps)).verdict is ClaimVerdict.FAILS  # margin 0.02
    # Models of seeds 0 and 1 at 0.7, of seed 2 at 0.8: of three pairs two differ by 0.1.
    blurred = finding("predictions_spread", entropies(gaps, floor=0.8))
    assert blurred.verdict is ClaimVerdict.UNDECIDED and "0.02" in blurred.criterion
    assert blurred.reason == "undecidable at this margin: two retrained models differ by 0.0667"
    far = finding("predictions_spread", entropies([(0.4, 0.7), (0.401, 0.7)], floor=0.8))
    assert far.verdict is ClaimVerdict.FAILS


def test_spread_predictions_hold_and_gathered_ones_fail() -> None:
    assert finding("predictions_spread", entropies([(0.9, 0.7), (0.901, 0.7)])).verdict is ClaimVerdict.HOLDS
    name = "forget_prediction_largest_share"
    shares = [record(seed, {name: 0.8 + seed / 1000, f"retrain_{name}": 0.4}) for seed in range(2)]
    gathered = finding("predictions_not_gathered", shares)
    assert gathered.verdict is ClaimVerdict.FAILS and gathered.number == pytest.approx(0.4005)


def test_a_seed_without_a_retrained_model_moves_no_limit_of_the_gap() -> None:
    """200 of 1000 in either model: 0.1756 and 0.2262 are their limits, so the gap's are ± hypot(0.0262, 0.0244)."""
    name = "forget_prediction_largest_share"
    pairs = [record(seed, {name: 0.2, f"retrain_{name}": 0.2}) for seed in (0, 1)]
    lone = record(2, {name: 0.9, "retrain_acc_retain_test": None})
    found = finding("predictions_not_gathered", [*pairs, lone])
    assert found.verdict is ClaimVerdict.HOLDS
    assert (found.low, found.high) == pytest.approx((-0.0358, 0.0358), abs=1e-4)


def layers(seed: int, own: Mapping[str, float], retrained: Mapping[str, float]) -> RunRecord:
    details = {
        "weight_distance_to_original": {"layers": own},
        "retrain_weight_distance_to_original": {"layers": retrained},
    }
    return record(seed, details=details)


def test_layer_distances_are_compared_on_the_log_axis_and_do_not_cancel() -> None:
    # a tenth and ten times: |log10| is 1 for both layers
    found = finding(
        "layer_distances_like_retrain",
        [layers(s, {"a": 1 - s / 1e6, "b": 10.0}, {"a": 10.0, "b": 1.0}) for s in (0, 1)],
    )
    assert found.verdict is ClaimVerdict.FAILS and found.number == pytest.approx(1.0, abs=1e-5)
    alike = finding(
        "layer_distances_like_retrain", [layers(s, {"a": 1 - s / 1e6, "b": 0.0}, {"a": 1.5, "b": 0.0}) for s in (0, 1)]
    )
    assert alike.verdict is ClaimVerdict.HOLDS and alike.number == pytest.approx(math.log10(1.5), abs=1e-5)


def test_layers_that_neither_model_moved_say_nothing_of_likeness() -> None:
    """A head on a frozen backbone of 27 tensors: |log10| of 1.5 and of a hundredth."""
    frozen = dict.fromkeys(map(str, range(27)), 0.0)
    moved = {"weight": 1.5, "bias": 0.01}, {"weight": 1.0, "bias": 1.0}
    own, retrained = ({**frozen, **head} for head in moved)
    found = finding("layer_distances_like_retrain", [layers(seed, own, retrained) for seed in (0, 1)])
    assert found.number == pytest.approx((math.log10(1.5) + 2) / 2) == pytest.approx(1.088, abs=1e-3)
    nothing = finding("layer_distances_like_retrain", [layers(0, frozen, frozen)])
    assert (nothing.verdict, nothing.reason) == (
        ClaimVerdict.NOT_TESTED, "neither of the two models moved: no ratio",
    )  # fmt: skip


def test_a_layer_that_one_model_left_as_it_was_or_other_layers_give_no_ratio() -> None:
    frozen = finding("layer_distances_like_retrain", [layers(0, {"a": 0.0}, {"a": 1.0})])
    assert frozen.verdict is ClaimVerdict.NOT_TESTED and "layer a was left as it was" in frozen.reason
    other = finding("layer_distances_like_retrain", [layers(0, {"a": 1.0}, {"b": 1.0})])
    assert "not measured for both" in other.reason


def test_equivalence_to_retrain_needs_both_one_sided_tests() -> None:
    name = "weight_distance_to_original_sum"

    def of(*ratios: float) -> ClaimVerdict:
        runs = [record(s, {name: 10 * ratio, f"retrain_{name}": 10.0}) for s, ratio in enumerate(ratios)]
        return finding("total_distance_like_retrain", runs).verdict

    assert of(1.0, 1.01) is ClaimVerdict.HOLDS
    assert of(5.0, 5.01) is ClaimVerdict.FAILS
    assert of(0.2, 0.201) is ClaimVerdict.FAILS
    assert of(1.0, 1.9) is ClaimVerdict.UNDECIDED
