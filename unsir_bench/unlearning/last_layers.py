"""Training the last layers alone, as the catastrophic-forgetting-k and exact-unlearning-k baselines do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from unsir_bench.training.fit import freeze_batchnorm


@contextmanager
def trained_alone(model: nn.Module, layers: Sequence[nn.Module]) -> Iterator[None]:
    """Only the parameters of ``layers`` receive gradients; all do again afterwards."""
    model.requires_grad_(False)
    for layer in layers:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_()
    try:
        yield
    finally:
        model.requires_grad_()


def frozen_outside(layers: Sequence[nn.Module]) -> Callable[[nn.Module, int], None]:
    """A ``Variation.before_epoch`` that keeps the batch-normalisation statistics of all but ``layers`` as they are."""

    def freeze(model: nn.Module, epoch: int) -> None:
        freeze_batchnorm(model)
        for layer in layers:
            layer.train()

    return freeze
