"""What the store keeps of the references' scores: for which models it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.evaluation import evaluate, relearning
from unsir_bench.evaluation.evaluate import Evaluation, Measurements, MetricsConfig
from unsir_bench.evaluation.relearning import RelearnConfig
from unsir_bench.references.store import Store
from unsir_bench.references.trained_models import ReferenceModels, TrainedModel
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe

Score = Callable[[MetricsConfig], Measurements]
OFF = dict.fromkeys(("outputs", "weights", "membership", "features", "floor"), False)


@pytest.fixture
def score(digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path) -> Score:
    """Measures the original as if it were unlearned, with references of one store."""
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), (0,), 10)
    references = ReferenceModels(Store(tmp_path), Recipe(epochs=1, batch_size=32), digits, {})
    context = make_context(scratch_trainer=references)
    original, retrained = references.original(context), references.retrained(split, context)

    def scores(config: MetricsConfig) -> Measurements:
        evaluation = Evaluation(config, digits, split, context, references, original, retrained)
        return evaluation.of(references.network(original, context))

    return scores


def test_what_a_reference_scores_is_of_the_shadow_models_that_are_there_now(
    score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = MetricsConfig(False, False, features=False, floor=False, lira_shadows=2, relearn=RelearnConfig(cap=0))

    first = score(config)
    train = ReferenceModels.retrained

    def trained_anew(models: ReferenceModels, split: ForgetSplit, context: RunContext) -> TrainedModel:
        found = train(models, split, context)
        logits = {name: value.flip(1) for name, value in found.logits.items()}
        return replace(found, weights={name: value + 1 for name, value in found.weights.items()}, logits=logits)

    monkeypatch.setattr(ReferenceModels, "retrained", trained_anew)
    again = score(config)
    assert again.values["lira_auc"] != first.values["lira_auc"]
    # The measured model is the original: its own value and the kept one are of the same shadow models.
    assert first.values["original_lira_auc"] == first.values["lira_auc"]
    assert again.values["original_lira_auc"] == again.values["lira_auc"]


def test_further_metrics_and_maps_relearn_no_reference_again(score: Score, monkeypatch: pytest.MonkeyPatch) -> None:
    relearned: list[nn.Module] = []
    relearn = relearning.relearn

    def counted(model: nn.Module, *rest: Any) -> relearning.RelearnTime:
        relearned.append(model)
        return relearn(model, *rest)

    monkeypatch.setattr(relearning, "relearn", counted)
    config = MetricsConfig(**OFF, relearn=RelearnConfig(cap=2, every=1))

    first = score(config)
    assert len(relearned) == 3 and first.seconds["references"] > 0 < first.seconds["inference"]
    again = score(replace(config, weights=True, collateral=True, grad_cam_samples=3))
    assert len(relearned) == 4
    assert again.values.keys() > first.values.keys()
    assert {name: again.values[name] for name in first.values} == first.values
    score(replace(config, relearn=RelearnConfig(cap=3, every=1)))
    assert len(relearned) == 7


def test_features_are_collected_where_a_metric_of_ours_reads_them_and_made_for_a_plug_in(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[str] = []
    collect = evaluate.outputs_of_splits
    monkeypatch.setattr(evaluate, "outputs_of_splits", lambda *of: passes.append(of[-1]) or collect(*of))
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), (0,), 10)
    references = ReferenceModels(Store(tmp_path), Recipe(epochs=1, batch_size=32), digits, {})
    context = make_context(scratch_trainer=references)
    model, unmeasured = context.initial_network(), cast(TrainedModel, None)
    found: dict[bool, Any] = {}
    for when in (False, True):
        config = MetricsConfig(**{**OFF, "features": when}, relearn=RelearnConfig(cap=0))
        run = Evaluation(config, digits, split, context, references, unmeasured, None)
        logits, features = run._outputs(model, config.turned_on())
        assert len(passes) == int(when) + len(found)
        found[when] = logits, features()
    assert len(passes) == 2
    for split_name in ("train", "test"):
        assert torch.equal(found[False][0][split_name], found[True][0][split_name])
        assert torch.equal(found[False][1][split_name], found[True][1][split_name])
