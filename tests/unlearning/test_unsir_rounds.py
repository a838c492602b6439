"""UNSIR's noise over several rounds of impair and repair: that of the first kept, or drawn and learned anew in each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unsir_bench.config_fields import identity
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning import unsir
from unsir_bench.unlearning.method import UnlearningData
from unsir_bench.unlearning.unsir import NoiseConfig, Unsir


@pytest.mark.parametrize(("choice", "learned"), [("kept", 1), ("anew", 3)])
def test_noise_is_learned_once_or_in_each_round_against_the_network_as_it_is(
    choice: str, learned: int, digits: DeviceData, make_context: Callable[..., RunContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    networks: list[Tensor] = []
    mixed: list[Tensor] = []
    learn, mix = unsir.learn_noise, unsir.mixed_batches

    def learning(model: nn.Module, *rest: object) -> Tensor:
        networks.append(next(model.parameters()).detach().clone())
        return learn(model, *rest)  # type: ignore[arg-type]

    def mixing(retain: object, noise: tuple[Tensor, Tensor], *rest: object) -> object:
        mixed.append(noise[0])
        return mix(retain, noise, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(unsir, "learn_noise", learning)
    monkeypatch.setattr(unsir, "mixed_batches", mixing)
    small = Recipe(batch_size=16, lr=0.01)
    method = Unsir(
        noise=NoiseConfig(batch_size=4, steps=2, copies=1, kept=2), retain_per_class=4, impair=small, repair=small,
        rounds=3, noise_of_rounds=choice,
    )  # fmt: skip
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), (0,), digits.num_classes)
    context = make_context()
    model = AllCNNConfig(width=2).initial(digits.image_shape, digits.num_classes, seed=0)
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    assert context.steps["noise"] == 2 * learned
    assert len(networks) == learned
    assert len({tuple(network.flatten().tolist()) for network in networks}) == learned
    assert len(mixed) == 3
    assert torch.equal(mixed[0], mixed[1]) == (choice == "kept")
    assert torch.equal(mixed[1], mixed[2]) == (choice == "kept")
    assert torch.equal(context.kept["noise"]["learned"], mixed[0][:2].cpu())


def test_each_round_draws_its_own_start_and_the_first_draws_as_ever(make_context: Callable[..., RunContext]) -> None:
    config, context = NoiseConfig(batch_size=3), make_context()
    starts = [unsir._initial_noise(config, context, round_index) for round_index in range(3)]
    assert torch.equal(starts[0], torch.randn(starts[0].shape, generator=context.generator("noise")))
    assert abs(torch.corrcoef(torch.stack([start.flatten() for start in starts])).triu(1)).max() < 0.4


def test_run_ids_from_before_the_option_stay() -> None:
    assert "noise_of_rounds" not in identity(Unsir())
    assert identity(Unsir(noise_of_rounds="anew"))["noise_of_rounds"] == "anew"
