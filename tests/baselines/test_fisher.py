from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from unsir_bench.baselines.fisher import Fisher, scrub

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import UnlearningData

MakeContext = Callable[..., RunContext]
FORGET = (1, 4)
ALPHA = 1e-4
# Some convolutions of this network have as many rows as there are classes: their shape does not make them the head.
ARCHITECTURE = AllCNNConfig(width=5)


def fisher_of(model: nn.Module) -> dict[str, Tensor]:
    """A hand-made diagonal, from 0 (below every bound) to 1e4, different for every entry."""
    draws = torch.Generator().manual_seed(7)
    diagonal = {}
    for name, value in model.named_parameters():
        exponents = torch.rand(value.shape, generator=draws) * 8 - 4
        diagonal[name] = torch.where(torch.rand(value.shape, generator=draws) < 0.1, 0.0, 10**exponents)
    return diagonal


def deviation(name: str, place: tuple[int, ...], diagonal: Tensor, alpha: float) -> float:
    """Standard deviation of one entry's noise, by the published rules (Golatkar et al. 2020) applied one at a time."""
    head = name.startswith("head.")
    bound = 1e2 if head else 1e3

    def bounded(value: float) -> float:
        return alpha * min(1 / (value + 1e-8), bound)

    if head and place[0] in FORGET:
        variance = 1e-4
    elif diagonal.ndim > 1:
        row = [diagonal[(place[0], column, *place[2:])].item() for column in range(diagonal.shape[1])]
        variance = sum(map(bounded, row)) / len(row)
    else:
        variance = bounded(diagonal[place].item())
    if head or diagonal.ndim == 1:
        variance *= 10
    return float(variance**0.5)


def test_the_noise_has_the_published_mean_and_variance(make_context: MakeContext) -> None:
    model = ARCHITECTURE.initial((1, 8, 8), 10, seed=0)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    diagonal = fisher_of(model)
    deviations, centres = {}, {}
    for name, value in diagonal.items():
        places = torch.cartesian_prod(*(torch.arange(size) for size in value.shape)).view(value.numel(), -1)
        flat = [deviation(name, tuple(place), value, ALPHA) for place in places.tolist()]
        deviations[name] = torch.tensor(flat, dtype=torch.float64).view(value.shape)
        centres[name] = start[name].double()
        if name.startswith("head."):
            centres[name][list(FORGET)] = 0

    draws: dict[str, list[Tensor]] = defaultdict(list)
    seeds = 60
    for seed in range(seeds):
        model.load_state_dict(start, strict=False)
        context = make_context(ARCHITECTURE, forget_classes=FORGET, seed=seed)
        scrub(model, diagonal, ALPHA, context)
        for name, value in model.named_parameters():
            kinds: dict[str, Any] = {name: slice(None)}
            if name.startswith("head."):
                kinds = {f"{name} forgotten": list(FORGET), f"{name} kept": [0, 2, 3, 5, 6, 7, 8, 9]}
            for kind, rows in kinds.items():
                standard = (value.detach().double() - centres[name])[rows] / deviations[name][rows]
                draws[kind].append(standard.flatten())
    for kind, parts in draws.items():
        standard = torch.cat(parts)
        # Five standard errors of the mean and of the variance of a normal sample.
        assert standard.mean().abs() < 5 / len(standard) ** 0.5, kind
        assert (standard.square().mean() - 1).abs() < 5 * (2 / len(standard)) ** 0.5, kind
        assert (standard.abs() < 1).double().mean() == pytest.approx(0.6827, abs=5 * 0.47 / len(standard) ** 0.5), kind


def test_entries_are_drawn_independently_and_anew_for_each_seed(make_context: MakeContext) -> None:
    moved = []
    for seed in (0, 0, 1):
        model = ARCHITECTURE.initial((1, 8, 8), 10, seed=0)
        before = model.get_parameter("features.4.0.weight").detach().clone()
        context = make_context(ARCHITECTURE, forget_classes=FORGET, seed=seed)
        scrub(model, {name: torch.ones_like(value) for name, value in model.named_parameters()}, ALPHA, context)
        moved.append((model.get_parameter("features.4.0.weight").detach() - before).flatten().double())
    assert torch.equal(moved[0], moved[1])
    # Five standard errors of a correlation of 0: with another seed's draws, and with the next entry's.
    bound = 5 / len(moved[0]) ** 0.5
    assert abs(torch.corrcoef(torch.stack([moved[0], moved[2]]))[0, 1]) < bound
    assert abs(torch.corrcoef(torch.stack([moved[0][1:], moved[0][:-1]]))[0, 1]) < bound


def test_alpha_scales_all_noise_but_that_of_the_forget_rows(make_context: MakeContext) -> None:
    models = {}
    for alpha in (ALPHA, 4 * ALPHA):
        model = ARCHITECTURE.initial((1, 8, 8), 10, seed=0).double()
        diagonal = {name: value.double() for name, value in fisher_of(model).items()}
        scrub(model, diagonal, alpha, make_context(ARCHITECTURE, forget_classes=FORGET))
        models[alpha] = {name: value.detach() for name, value in model.named_parameters()}
    start = ARCHITECTURE.initial((1, 8, 8), 10, seed=0).double()
    for name, before in start.named_parameters():
        small, large = models[ALPHA][name], models[4 * ALPHA][name]
        kept = torch.ones(len(before), dtype=torch.bool)
        if name.startswith("head."):
            kept[list(FORGET)] = False
            assert torch.equal(small[~kept], large[~kept])
        torch.testing.assert_close((large - before)[kept], 2 * (small - before)[kept], rtol=1e-6, atol=1e-12)


def test_buffers_and_trainability_are_left(make_context: MakeContext) -> None:
    model = ARCHITECTURE.initial((1, 8, 8), 10, seed=0)
    before = {name: value.clone() for name, value in model.named_buffers()}
    scrub(model, fisher_of(model), ALPHA, make_context(ARCHITECTURE, forget_classes=FORGET))
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())


class Requests:
    """A precomputation that notes what it is asked for and answers with ones."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], list[int]]] = []

    def __call__(
        self, kind: str, settings: Any, model: nn.Module, view: Any, compute: Any, context: RunContext
    ) -> dict[str, Tensor]:
        self.asked.append((kind, dict(settings), view.indices.tolist()))
        return {name: torch.ones_like(value) for name, value in model.named_parameters()}


@pytest.fixture
def asked(digits: DeviceData, make_context: MakeContext) -> Callable[..., tuple[str, dict[str, Any], list[int]]]:
    """Run the method and return what it asks the store for: kind, settings, samples."""

    def run(seed: int = 0, **options: Any) -> tuple[str, dict[str, Any], list[int]]:
        split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), FORGET, digits.num_classes)
        requests, method = Requests(), Fisher(**options)
        context = make_context(forget_classes=FORGET, seed=seed, precomputation=requests)
        method.unlearn(context.initial_network(), UnlearningData(digits, split, method, seed), context)
        [request] = requests.asked
        return request

    return run


def test_the_diagonal_is_that_of_all_retain_samples_or_of_some_drawn_at_random(
    asked: Callable[..., tuple[str, dict[str, Any], list[int]]], digits: DeviceData
) -> None:
    retain = (~torch.isin(digits.labels("train"), torch.tensor(FORGET))).nonzero()[:, 0].tolist()
    assert asked()[2] == retain
    assert asked(max_samples=1000)[2] == retain
    some = asked(max_samples=30)[2]
    assert len(set(some)) == 30
    assert set(some) <= set(retain)
    assert some == sorted(some) != retain[:30]
    assert some == asked(max_samples=30)[2]
    assert some != asked(max_samples=30, seed=1)[2]


def test_an_exact_diagonal_is_shared_by_all_runs_it_serves_and_a_drawn_one_is_not(
    asked: Callable[..., tuple[str, dict[str, Any], list[int]]],
) -> None:
    exact = asked(labels="exact")
    assert exact == asked(labels="exact", seed=1, batch_size=8, alpha=1.0)
    drawn = asked(labels="mc")
    assert drawn == asked(labels="mc", alpha=1.0)
    others = [exact, asked(labels="mc", seed=1), asked(labels="mc", batch_size=8)]
    assert all(drawn[:2] != other[:2] for other in others)


def test_the_reads_of_the_samples_are_counted(digits: DeviceData, make_context: MakeContext) -> None:
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), FORGET, digits.num_classes)
    method, context = Fisher(max_samples=12, labels="mc"), make_context(forget_classes=FORGET)
    data = UnlearningData(digits, split, method, 0)
    method.unlearn(context.initial_network(), data, context)
    assert data.access_counts()["retain"] == {"samples": 12, "reads": 12}
