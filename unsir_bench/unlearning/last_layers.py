"""Training the last layers alone, as the catastrophic-forgetting-k and exact-unlearning-k baselines do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from unsir_bench.errors import NotApplicable
from unsir_bench.models.model import is_weight_layer
from unsir_bench.training.fit import freeze_batchnorm


def last_layers(model: nn.Module, count: int) -> list[nn.Module]:
    """The modules from the ``count``-th last weight layer to the end, in the order in which the model declares them.

    Weight layers are modules with a weight of two or more dimensions (convolutions, linear layers); normalisations
    between and after them are part of the result. In a vision transformer that is, from the second layer on, the last
    ``norm`` before the head, which the published code leaves frozen.

    Raises:
        NotApplicable: the model has fewer weight layers.
    """
    own = [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]
    layers = [place for place, module in enumerate(own) if is_weight_layer(module)]
    if count > len(layers):
        raise NotApplicable(
            f"the model has {len(layers)} weight layers, fewer than the last {count} that are asked for"
        )
    return own[layers[-count] :]


def parameters_of_last_layers(model: nn.Module, count: int | None) -> list[str]:
    """Names of the parameters of ``last_layers``, or of all parameters where ``count`` is None, in the model's order.

    Raises:
        NotApplicable: the model has fewer weight layers.
    """
    if count is None:
        return [name for name, _ in model.named_parameters()]
    within = {id(each) for layer in last_layers(model, count) for each in layer.parameters(recurse=False)}
    return [name for name, each in model.named_parameters() if id(each) in within]


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
