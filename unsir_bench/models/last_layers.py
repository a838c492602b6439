"""The last layers of a network, of which some methods change no others."""

from __future__ import annotations

from torch import nn

from unsir_bench.errors import NotApplicable
from unsir_bench.models.model import is_weight_layer


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
