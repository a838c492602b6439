"""The samples whose loss lowers the rate on a plateau: held out of the training split, or of the test split."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from tests.references.conftest import HELD_OUT, RECIPE
from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.references.trained_models import ReferenceModels
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import fit
from unsir_bench.training.inference import predict

MakeContext = Callable[..., RunContext]


def trained_indices(references: ReferenceModels, view: DataView, context: RunContext) -> set[int]:
    trained, _ = references._trained_and_watched(view, context)
    return set(trained.indices.tolist())


def test_held_out_samples_are_not_trained_on_and_are_the_same_for_original_and_retrained(
    references: ReferenceModels, split: ForgetSplit, digits: DeviceData, make_context: MakeContext
) -> None:
    references.recipe, context = HELD_OUT, make_context()
    whole, retained = digits.view("train"), digits.view("train", split.retain_train)
    held_out = set(whole.indices.tolist()) - trained_indices(references, whole, context)
    assert len(held_out) == round(0.1 * len(whole))
    held_out_of_retained = set(split.retain_train.tolist()) - trained_indices(references, retained, context)
    assert len(held_out_of_retained) == round(0.1 * len(retained))
    both = held_out & set(split.retain_train.tolist())
    assert both <= held_out_of_retained or held_out_of_retained <= both
    context.seed = 1
    assert held_out != set(whole.indices.tolist()) - trained_indices(references, whole, context)
    assert references.original(context).manifest["samples"] == RECIPE.epochs * (len(whole) - len(held_out))


def test_a_plateau_reads_the_loss_of_the_samples_it_is_told_to_watch(
    references: ReferenceModels, split: ForgetSplit, digits: DeviceData, make_context: MakeContext
) -> None:
    context, recipe = make_context(), dataclasses.replace(HELD_OUT, plateau_watch="test")
    references.recipe = recipe
    model = context.initial_network()
    for view, members in (
        (digits.view("train"), torch.arange(len(digits.labels("test")))),
        (digits.view("train", split.retain_train), split.retain_test),
    ):
        trained, watched = references._trained_and_watched(view, context)
        assert trained is view
        logits = predict(model, digits.view("test", members), context, "oracle").double()
        chance = logits.softmax(1)[torch.arange(len(members)), digits.labels("test")[members]]
        assert watched is not None
        assert watched(model) == pytest.approx(-chance.log().mean().item(), rel=1e-5)
    for other in (
        dataclasses.replace(HELD_OUT, schedule="onecycle"),
        dataclasses.replace(HELD_OUT, plateau_watch="train"),
    ):
        references.recipe, whole = other, digits.view("train")
        trained, watched = references._trained_and_watched(whole, context)
        assert trained is whole and watched is None


def test_the_watched_loss_decides_when_the_rate_is_lowered(
    references: ReferenceModels, digits: DeviceData, make_context: MakeContext
) -> None:
    losses = iter([1.0, 2.0, 0.5, 0.6])  # worse in epochs 2 and 4
    recipe, rates = HELD_OUT, []
    keeper = SimpleNamespace(
        load=lambda: None, save=lambda state: rates.append(state["optimizer"]["param_groups"][0]["lr"])
    )
    context = make_context()
    batches = EpochBatches.from_view(digits.view("train"), recipe, context, "train")
    fit(context.initial_network(), batches, recipe, context, "original", keeper, None, lambda _model: next(losses))
    assert rates == pytest.approx([0.02, 0.01, 0.01, 0.005])
