"""A step that several processes share is the step of one process on the whole batch; each is played here in turn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.training.fit import FitState, Variation, _Session, _share_buffers
from unsir_bench.training.recipe import Recipe


class Stepped(NamedTuple):
    """What one process did in a step: samples of its share, loss and gradient before processes average them."""

    samples: list[int]
    loss: Tensor
    gradient: Tensor


def batch(samples: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return torch.randn(samples, 5, generator=draws).double(), torch.randint(3, (samples,), generator=draws)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(5, 3, bias=False).double()


def mean_loss(model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of a batch, and its gradient."""
    loss = F.cross_entropy(model(images), targets)
    return loss.detach(), torch.autograd.grad(loss, model.get_parameter("weight"))[0]


def context_of(rank: int, processes: int) -> Any:
    fabric = SimpleNamespace(
        world_size=processes, global_rank=rank, backward=lambda loss: loss.backward(), all_reduce=lambda loss: loss
    )
    return SimpleNamespace(fabric=fabric)


def stepped(rank: int, images: Tensor, targets: Tensor, processes: int = 2) -> Stepped:
    samples = []

    def objective(network: Any, images: Tensor, targets: Tensor) -> Tensor:
        samples.append(len(targets))
        return F.cross_entropy(network(images), targets)

    loss, gradient = step_of(rank, network(), images, targets, Variation(objective), processes)
    return Stepped(samples, loss, gradient)


def step_of(
    rank: int, model: nn.Module, images: Tensor, targets: Tensor, variation: Variation, processes: int = 2
) -> tuple[Tensor, Tensor]:
    """One process's step: the loss, and the gradient of the first parameter before processes average them."""
    schedule: Any = SimpleNamespace(after_step=lambda: None)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = _Session(
        model, model, optimizer, schedule, Recipe(), context_of(rank, processes), "train", FitState(),
        variation, None,
    )  # fmt: skip
    loss = session._step(images, targets)
    gradient = next(model.parameters()).grad
    assert gradient is not None
    return loss, gradient


def test_shares_of_unequal_size_make_the_gradient_and_the_loss_of_the_whole_batch() -> None:
    images, targets = batch(7)
    first, second = (stepped(rank, images, targets) for rank in (0, 1))
    assert (first.samples, second.samples) == ([4], [3])
    # Every second sample is a process's own: 8/7 and 6/7 of the mean over its share.
    for process, rank, factor in ((first, 0, 8 / 7), (second, 1, 6 / 7)):
        loss, gradient = mean_loss(network(), images[rank::2], targets[rank::2])
        torch.testing.assert_close(process.loss, factor * loss)
        torch.testing.assert_close(process.gradient, factor * gradient)
    loss, gradient = mean_loss(network(), images, targets)
    torch.testing.assert_close((first.loss + second.loss) / 2, loss)
    torch.testing.assert_close((first.gradient + second.gradient) / 2, gradient)


@pytest.mark.parametrize(("samples", "processes"), [(3, 2), (7, 1)], ids=["too few to share", "one process"])
def test_each_process_takes_the_whole_of_what_is_not_shared(samples: int, processes: int) -> None:
    images, targets = batch(samples)
    loss, gradient = mean_loss(network(), images, targets)
    for rank in range(processes):
        found = stepped(rank, images, targets, processes)
        assert found.samples == [samples]
        torch.testing.assert_close(found.loss, loss)
        torch.testing.assert_close(found.gradient, gradient)


@pytest.mark.parametrize(("processes", "sent"), [(1, 0), (2, 3)])
def test_after_a_training_all_processes_have_the_first_ones_buffers(
    processes: int, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, shared = nn.BatchNorm1d(2), []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, src: shared.append((tensor, src)))
    _share_buffers(model, context_of(0, processes))
    buffers = list(model.buffers())[:sent]  # running mean, running variance, number of batches
    assert [(id(tensor), src) for tensor, src in shared] == [(id(buffer), 0) for buffer in buffers]
