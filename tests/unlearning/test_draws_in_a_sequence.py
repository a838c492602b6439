"""Every draw of a method depends on the step of a forgetting sequence; those of references and metrics do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from unsir_bench.baselines.fisher import scrub

from unsir_bench import compose, runner
from unsir_bench import config as configuration
from unsir_bench.data.batches import first_or_random_per_class
from unsir_bench.data.dataset import load_cached
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.references.precomputation import StoredPrecomputation
from unsir_bench.references.store import Store
from unsir_bench.references.trained_models import ReferenceModels
from unsir_bench.runtime.progress import Progress
from unsir_bench.runtime.seeding import generator, role_in_step
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import Access, UnlearningData, UnlearningMethod

MakeContext = Callable[..., RunContext]
Noted = list[tuple[tuple[int, ...], tuple[int, ...], Tensor]]


@dataclass
class Draws(UnlearningMethod):
    """Keeps a draw of each step; notes the classes of this step and of earlier ones, and the subset it was given."""

    noted: ClassVar[Noted] = []
    name: str = "draws"
    requires = frozenset({Access.RETAIN_SUBSET})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        context.keep("draws", {"drawn": torch.randn(1, 50, generator=context.generator("noise"))})
        self.noted.append((context.forget_classes, context.forgotten_before, data.retain_subset(3).indices))
        return model


@pytest.mark.parametrize("seed", [0, 7])
def test_the_runner_tells_the_method_which_step_it_is(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: Noted = []
    monkeypatch.setattr(Draws, "noted", noted)
    config = compose([
        "forget.sequence=[[0],[3],[1]]", "dataset.subset=15", "model.width=4", "train.epochs=1", "metrics=fast",
        "retrain_reference=false", "tracker=none", f"outputs={tmp_path}", f"store.root={tmp_path}/store",
        f"unlearn_seed={seed}",
    ])  # fmt: skip
    config = replace(config, method=Draws())
    assert runner.run(config).status == "done"
    drawn = load_file(config.folder / "draws.safetensors")["drawn"]
    assert len(drawn) == 3
    assert torch.equal(drawn[:1], torch.randn(1, 50, generator=generator(seed, "noise")))
    assert torch.corrcoef(drawn).triu(1).abs().max() < 0.7
    assert [(now, before) for now, before, _ in noted] == [((0,), ()), ((3,), (0,)), ((1,), (0, 3))]
    labels = torch.as_tensor(load_cached(config.dataset, Progress(interactive=False)).train.labels)
    for step, (now, before, subset) in enumerate(noted):
        retained = torch.where(~torch.isin(labels, torch.tensor([*now, *before])))[0]
        draws = generator(seed, *role_in_step(("retain subset",), step))
        assert torch.equal(subset, retained[first_or_random_per_class(labels[retained], 3, "random", draws)])


def test_only_the_run_ids_of_sequences_hang_on_their_version(monkeypatch: pytest.MonkeyPatch) -> None:
    single, sequence = compose(["forget=single"]), compose(["forget=sequence"])
    before = single.run_id, sequence.run_id
    monkeypatch.setattr(configuration, "SEQUENCE_VERSION", 99)
    assert single.run_id == before[0]
    assert sequence.run_id != before[1]


def fisher_noise(context: RunContext, step: int) -> Tensor:
    """What Fisher forgetting adds to the first layer in one step."""
    model = context.initial_network()
    before = next(model.parameters()).detach().clone()
    diagonal = {name: torch.ones_like(value) for name, value in model.named_parameters()}
    with context.in_step(step):
        scrub(model, diagonal, 1e-4, context)
    return (next(model.parameters()).detach() - before).flatten()


def test_the_noise_of_two_steps_is_independent_and_that_of_the_first_as_ever(make_context: MakeContext) -> None:
    first, second, again = (fisher_noise(make_context(), step) for step in (0, 1, 0))
    assert torch.equal(first, again)
    bound = 5 / len(first) ** 0.5
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < bound


DRAWS: dict[str, Callable[[RunContext], Tensor]] = {
    "generator": lambda context: torch.rand(4, generator=context.generator("role", 3)),
    "random network": lambda context: next(context.random_network("bad teacher").parameters()).detach(),
}


def seeded(context: RunContext) -> Tensor:
    context.seed_everything("role", "dropout", 0)
    return torch.rand(4)


@pytest.mark.parametrize("draw", [*DRAWS.values(), seeded], ids=[*DRAWS, "global generators"])
def test_each_step_draws_for_itself(draw: Callable[[RunContext], Tensor], make_context: MakeContext) -> None:
    context, drawn = make_context(), []
    for step in (0, 1, 2, 1):
        with context.in_step(step):
            drawn.append(draw(context))
    outside = draw(context)
    assert torch.equal(drawn[0], outside), "step 0 and work between the steps keep their roles"
    assert torch.equal(drawn[1], drawn[3])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


def test_the_first_step_and_single_requests_keep_the_roles_they_had(make_context: MakeContext) -> None:
    with make_context().in_step(0):
        drawn = torch.rand(3, generator=make_context().generator("noise"))
    assert torch.equal(drawn, torch.rand(3, generator=generator(0, "noise")))


def test_the_step_ends_with_an_error(make_context: MakeContext) -> None:
    context = make_context()
    with pytest.raises(KeyboardInterrupt), context.in_step(2):
        raise KeyboardInterrupt
    assert context.step == 0


@pytest.mark.parametrize("kind", ["subset", "share"])
def test_retain_samples_are_drawn_anew_in_each_step(kind: str, digits: DeviceData) -> None:
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), (0,), digits.num_classes)

    def chosen(step: int) -> list[int]:
        data = UnlearningData(digits, split, Draws(), 0, step=step)
        return (data.retain_subset(5) if kind == "subset" else data.retain_share(0.3)).indices.tolist()

    assert chosen(0) == chosen(0) != chosen(1) == chosen(1) != chosen(2)


def test_a_network_that_a_later_step_trains_from_scratch_is_the_reference(
    digits: DeviceData, make_context: MakeContext, tmp_path: Path
) -> None:
    recipe = Recipe(epochs=1, batch_size=32, lr=0.01)
    view, weights = digits.view("train"), []
    for step in (0, 2):
        trainer = ReferenceModels(Store(tmp_path / str(step)), recipe, digits, {})
        context = make_context(scratch_trainer=trainer)
        with context.in_step(step):
            weights.append(context.train_from_scratch(view).state_dict())
            assert context.step == step
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_later_step_shares_no_drawn_precomputation_with_the_first(
    digits: DeviceData, make_context: MakeContext, tmp_path: Path
) -> None:
    context = make_context(precomputation=StoredPrecomputation(Store(tmp_path), digits.fingerprint, {}))
    model, view = context.initial_network(), digits.view("train")

    def drawn(step: int) -> Tensor:
        with context.in_step(step):
            found = context.precomputed("draws", {}, model, view, lambda _: {"x": DRAWS["generator"](context)})
        return found["x"]

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
