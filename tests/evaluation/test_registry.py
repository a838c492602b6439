"""Every registered metric has a card that says how to read it; one of another package is measured like our own."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation import registry
from unsir_bench.evaluation.evaluate import Evaluation, Measurements, MetricsConfig
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, Scores, metric
from unsir_bench.references.store import Store
from unsir_bench.references.trained_models import ReferenceModels
from unsir_bench.report.metric_cards import verdict_cards
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
SHIPPED = [each for each in registry.registered() if each.shipped]
CARDS = [card for each in SHIPPED for card in each.cards]

Measure = Callable[..., Measurements]


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_METRICS", dict(registry._METRICS))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def measure(digits: DeviceData, make_context: Callable[..., RunContext], store: Store) -> Measure:
    """Measures the original as if it were unlearned; all calls share one store."""
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), (0,), 10)

    def start(config: MetricsConfig, *, retrain: bool = True) -> Measurements:
        references = ReferenceModels(store, Recipe(epochs=1, batch_size=32), digits, {})
        context = make_context(scratch_trainer=references)
        original = references.original(context)
        retrained = references.retrained(split, context) if retrain else None
        evaluation = Evaluation(config, digits, split, context, references, original, retrained)
        return evaluation.of(references.network(original, context))

    return start


def fast() -> MetricsConfig:
    config = MetricsConfig(outputs=False, weights=False, membership=False, features=False, floor=False)
    config.relearn.cap = 0
    return config


def documented() -> Iterator[tuple[str, str, str]]:
    """Field, ideal and source of each row of docs/metrics.md that has four columns."""
    for names, ideal, source in re.findall(
        r"^\| (`[^|]*) \|(?: .* )\| ([^|]*) \| ([^|]*) \|$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE
    ):
        for name in re.findall(r"`([a-z0-9_]+)`", names):
            yield name, ideal, source


@pytest.mark.parametrize("card", CARDS, ids=[card.field for card in CARDS])
def test_a_card_says_how_to_read_its_field(card: MetricCard) -> None:
    low, high = card.range
    assert low < high
    assert all((card.title, card.ideal, card.source))
    assert bool(card.overshoot) == (card.overshoots != 0)
    # A verdict is on the gap to retrain.
    assert card.compared or card.minimum_margin == 0


def test_the_document_says_of_each_field_what_its_card_says() -> None:
    assert sorted(documented()) == sorted((card.field, card.ideal, card.source) for card in CARDS)


def test_the_original_against_itself_has_not_moved(measure: Measure) -> None:
    found = measure(replace(fast(), weights=True))
    assert found.values["weight_distance_to_original_sum"] == 0
    # What is relative to the original is not said of it.
    assert "original_weight_distance_to_original_sum" not in found.values


def test_without_a_retrained_model_what_is_relative_to_it_is_absent(measure: Measure) -> None:
    config = MetricsConfig(features=False, membership=False)
    config.relearn.cap = 0
    found = measure(config, retrain=False)
    assert not [name for name in found.values if "retrain" in name or name.startswith("gap_") or name == "tow"]
    assert found.values["zrf"] is not None


def test_numbers_of_numpy_and_torch_are_recorded_and_what_is_none_is_named(
    measure: Measure, own_registry: None
) -> None:
    @metric(MetricCard("single", "single", "a test"), MetricCard("whole", "whole", "a test"))
    def numbers(inputs: MetricInputs) -> Scores:
        return {"single": np.float32(0.5), "whole": torch.tensor(3), "curve": [torch.ones(2), {"a": np.int64(4)}]}

    found = measure(fast())
    recorded = {name: found.values[name] for name in ("single", "whole")}
    curve = found.details["curve"]
    assert json.loads(json.dumps([recorded, curve])) == [{"single": 0.5, "whole": 3}, [[1.0, 1.0], {"a": 4}]]

    @metric(MetricCard("odd", "odd", "a test"))
    def odd(inputs: MetricInputs) -> float:
        return inputs.logits("forget_test")  # type: ignore[return-value]

    with pytest.raises(TypeError, match="the metric of odd gives for odd a value of type list, which is no number"):
        measure(fast())


def test_a_metric_of_another_package_is_measured_like_our_own(measure: Measure, own_registry: None) -> None:
    @metric(MetricCard("certainty", "certainty %", "a test", compared=True, minimum_margin=0.02))
    def certainty(inputs: MetricInputs) -> float:
        return float(inputs.logits("forget_test").softmax(dim=1).amax(dim=1).mean())

    @metric(MetricCard("first", "first", "a test"), MetricCard("second", "second", "a test"), group="two")
    def two_numbers(inputs: MetricInputs) -> Scores:
        return {"first": 1, "second": 2, "third": [1, 2, 3]}

    @metric(MetricCard("hopeless", "hopeless", "a test"), when="outputs")
    def hopeless(inputs: MetricInputs) -> float:
        raise MetricUnavailable("there is nothing to measure")

    config = fast()
    config.outputs = True
    measure(fast())
    found = measure(config)
    values = found.values
    assert values["certainty"] == pytest.approx(values["original_certainty"])  # type: ignore[arg-type]
    assert values["gap_certainty"] == values["certainty"] - values["retrain_certainty"]  # type: ignore[operator]
    assert (values["first"], values["second"], found.details["third"]) == (1, 2, [1, 2, 3])
    assert values["hopeless"] is None and values["original_hopeless"] is None
    assert found.notes["hopeless"] == found.notes["retrain_hopeless"] == "there is nothing to measure"
    assert {"certainty", "two", "hopeless"} <= found.seconds.keys()
    assert "hopeless" not in measure(fast()).values
    assert "certainty" in {card.field for card in verdict_cards()}
    assert "first" in {card.field for card in registry.cards()} - {card.field for card in verdict_cards()}


@pytest.mark.parametrize("taken", ["steps", "stages", "metric_seconds", "samples", "retrain_samples", "relearn_curve"])
def test_a_detail_whose_name_is_taken_costs_its_own_metric_alone(
    taken: str, measure: Measure, own_registry: None
) -> None:
    """A record whose steps are no steps of a sequence cannot be written, or not be read again."""
    before = measure(fast())

    @metric(MetricCard("mine", "mine", "a test"), group="my group")
    def mine(inputs: MetricInputs) -> Scores:
        return {"mine": 0.5, taken: [1, 2, 3]}

    found = measure(fast())
    assert found.details == before.details
    assert found.values == before.values | dict.fromkeys(["mine", "original_mine", "retrain_mine"])
    assert found.notes["mine"] == f"the metric my group gives a detail {taken}: a taken name; give it another"


def test_of_two_metrics_the_first_has_a_detail_of_both(measure: Measure, own_registry: None) -> None:
    @metric(MetricCard("one", "one", "a test"))
    def one(inputs: MetricInputs) -> Scores:
        return {"one": 1, "curve": [1]}

    @metric(group="two")
    def two(inputs: MetricInputs) -> Scores:
        return {"curve": [2]}

    found = measure(fast())
    assert found.values["one"] == 1 and found.details["curve"] == found.details["retrain_curve"] == [1]
    assert "detail curve" in found.notes["two"]


def test_the_store_keeps_no_score_of_another_packages_metric(measure: Measure, own_registry: None) -> None:
    config = fast()
    config.outputs = True
    before = measure(config).values
    answer = [1.0]

    @metric(MetricCard("changing", "changing", "a test"))
    def changing(inputs: MetricInputs) -> float:
        return answer[0]

    assert measure(config).values["retrain_changing"] == 1
    answer[0] = 0.5
    after = measure(config).values
    assert after["retrain_changing"] == 0.5
    assert before.items() <= after.items()


def test_a_metric_of_ones_own_is_measured_of_each_model_and_judged(measure: Measure, own_registry: None) -> None:
    @metric(MetricCard("sureness_of_forgotten", "confidence %", "a test", compared=True, minimum_margin=0.02))
    def sureness_of_forgotten(inputs: MetricInputs) -> float:
        return float(inputs.logits("forget_test").softmax(dim=1).amax(dim=1).mean())

    values = measure(fast()).values
    assert 0.1 <= values["sureness_of_forgotten"] <= 1  # type: ignore[operator]
    assert {f"{prefix}sureness_of_forgotten" for prefix in ("original_", "retrain_", "gap_")} <= values.keys()
    assert "sureness_of_forgotten" in {card.field for card in verdict_cards()}


def test_a_field_belongs_to_one_metric(own_registry: None) -> None:
    def mine(inputs: MetricInputs) -> float:
        return math.nan

    with pytest.raises(ValueError, match=r"zrf is unsir_bench\..*zero_retrain_forgetting's; choose another name"):
        metric(MetricCard("zrf", "ZRF", "a test"))(mine)
    # A module that is imported again registers its own metric again.
    for title in ("old", "new"):
        metric(MetricCard("mine", title, "a test"))(mine)
    assert [card.title for card in registry.cards() if card.field == "mine"] == ["new"]


def test_a_switch_that_no_preset_has_is_refused() -> None:
    with pytest.raises(ValueError, match="when='feature': must be one of always, outputs"):
        metric(when="feature")  # type: ignore[arg-type]


def test_a_number_for_several_fields_and_a_field_that_is_not_given_are_null_and_named(
    measure: Measure, own_registry: None
) -> None:
    @metric(MetricCard("first", "first", "a test"), MetricCard("second", "second", "a test"))
    def one_number(inputs: MetricInputs) -> float:
        return 1

    @metric(MetricCard("given", "given", "a test"), MetricCard("forgotten", "forgotten", "a test"))
    def one_of_two(inputs: MetricInputs) -> Scores:
        return {"given": 2}

    found = measure(fast())
    for name in ("first", "second"):
        assert found.values[name] is None
        assert "one number gives a single value and has the fields first, second" in found.notes[name]
    assert (found.values["given"], found.values["forgotten"]) == (2, None)
    assert found.notes["forgotten"] == found.notes["retrain_forgotten"] == "the metric one of two does not give it"


def test_the_cards_need_no_training() -> None:
    heavy = {"timm", "torchvision", "lightning_fabric", "wandb"}
    code = f"""import sys
from unsir_bench.evaluation.registry import cards
cards()
print(sorted({heavy} & set(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "field", ["unlearn_seconds", "retain_passes", "gap_mine", "floor_mine", "retrain_seconds", "original_mine"]
)
def test_a_field_that_runs_write_themselves_is_refused(field: str, own_registry: None) -> None:
    with pytest.raises(ValueError, match=f"the field {field} is one that runs write themselves"):
        metric(MetricCard(field, "mine", "defined here"))(lambda inputs: 1.0)
