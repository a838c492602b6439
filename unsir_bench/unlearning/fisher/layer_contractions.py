"""Squared weight gradients of single samples, summed over a batch, from a layer's input and its output's gradient.

A layer is watched during one forward pass and the backward passes after it, with its parameters frozen, so that
autograd forms no weight gradient. With input columns u_t and output gradients g_t at T positions (of a feature map, or
tokens), a sample's weight gradient is Σ_t g_t u_tᵀ; its square is summed over samples and passes in one of two ways:

- directly: the product is formed in a buffer and squared;
- where positions are few, by (Σ_t g_t u_t)² = Σ_{t,s} (g_t g_s)(u_t u_s), whose first factor is summed over the passes
  before the one product with the second (as many times less work as there are passes at T = 1). Few means that this
  product costs less than one of each pass, T + 1 < 2 · passes, and that each pass sums fewer numbers for an output,
  T (T + 1) / 2, than the K that it would square.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.errors import NotApplicable

# Numbers in a product that is formed to be squared: on a CPU it should stay in the cache, a GPU wants large products.
BUFFER_NUMBERS = {"cpu": 400_000}
BUFFER_NUMBERS_ELSEWHERE = 16_000_000


def _pieces(one: Tensor) -> int:
    """How many tensors like ``one`` fill the buffer."""
    return max(1, BUFFER_NUMBERS.get(one.device.type, BUFFER_NUMBERS_ELSEWHERE) // max(1, one.numel()))


def untreatable(name: str, why: str) -> NotApplicable:
    """The error that names a module or parameter which only the per-sample path treats."""
    return NotApplicable(
        f"the exact Fisher diagonal cannot treat '{name}', which {why}; "
        "method.fallback=true takes the slow exact path, one backward pass per sample and class"
    )


def contractions_for(name: str, module: nn.Module, passes: int) -> Iterator[LayerContraction]:
    """The contractions for the parameters that a module owns itself.

    Args:
        name: of the module within its model.
        module: any module with parameters of its own.
        passes: backward passes of each batch.

    Raises:
        NotApplicable: the module is of an unknown kind; it is named.
    """
    for kind, layer in LAYERS.items():
        if isinstance(module, kind):
            yield layer(name, module, passes)
            return
    for own, parameter in module.named_parameters(recurse=False):
        if parameter.ndim < 2 or parameter.shape[0] != 1:
            raise untreatable(f"{name}.{own}".lstrip("."), f"belongs to a {type(module).__name__}")
        yield _BroadcastParameter(name, module, passes, own)


class LayerContraction(ABC):
    """The parameters of one module: listens to a forward pass and to the backward passes after it."""

    def __init__(self, name: str, module: Any, passes: int):
        self.name, self.module, self.passes = name, module, passes
        self.totals: dict[str, Tensor] = {}
        self._input: Tensor | None = None
        self._version = 0

    @contextmanager
    def listening(self, samples: int, root: Tensor, totals: dict[str, Tensor]) -> Iterator[None]:
        """Collect during the forward and backward passes of one batch of ``samples`` into ``totals``."""
        prefix = f"{self.name}." if self.name else ""
        self.totals = {own: totals[prefix + own] for own, _ in self.module.named_parameters(recurse=False)}
        self._input = None

        def heard(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if self._input is not None or len(output) != samples:
                raise untreatable(self.name, "is used more than once, or not on a batch of samples")
            self.begin(inputs[0].detach())
            # Nothing before the first layer needs a gradient, so the graph is made to begin here.
            output = output if output.requires_grad else output + root
            output.register_hook(self._add)
            return output

        handle = self.module.register_forward_hook(heard)
        try:
            yield
        finally:
            handle.remove()

    def _add(self, gradient: Tensor) -> None:
        assert self._input is not None  # noqa: S101 - set by the forward pass that made this gradient
        if self._input._version != self._version:
            raise untreatable(self.name, "has its input changed in place after it was used")
        self.add(self._input, gradient)

    def begin(self, inputs: Tensor) -> None:
        """Prepare for the backward passes of a batch."""
        self._input, self._version = inputs, inputs._version

    @abstractmethod
    def add(self, inputs: Tensor, gradient: Tensor) -> None:
        """Take in one backward pass: the gradient with respect to the layer's output."""

    def finish(self) -> None:
        """Add what was kept until after the last backward pass of a batch."""
        self._input = None

    def add_bias(self, sums: Tensor) -> None:
        """Add squared bias gradients (samples, ...)."""
        if "bias" in self.totals:
            self.totals["bias"].add_(sums.square().sum(dim=0).view_as(self.totals["bias"]))


class _MatrixLayer(LayerContraction):
    """A layer whose output is, at each of T positions, a matrix times a column of K inputs, in each of g groups."""

    def begin(self, inputs: Tensor) -> None:
        super().begin(inputs)
        self._products: Tensor | None = None
        self._columns: Tensor | None = None

    @abstractmethod
    def weight_total(self) -> Tensor:
        """The running sum for the weight, seen as (g, outputs of a group, K)."""

    @abstractmethod
    def columns(self, inputs: Tensor) -> Tensor:
        """u: (samples, g, K, T)."""

    @abstractmethod
    def rows(self, gradient: Tensor) -> Tensor:
        """g: (samples, g, outputs of a group, T)."""

    def add(self, inputs: Tensor, gradient: Tensor) -> None:
        rows = self.rows(gradient)
        self.add_bias(rows.sum(dim=3).flatten(1))
        if self._few(rows.shape[3]):
            self._keep(rows)
        else:
            if self._columns is None:
                self._columns = self.columns(inputs)
            self._square(rows, self._columns)

    def _few(self, positions: int) -> bool:
        """Whether products of output gradients are kept for so many positions."""
        pairs = positions * (positions + 1) // 2
        return positions == 1 or (positions + 1 < 2 * self.passes and pairs < self.weight_total().shape[2])

    def _square(self, rows: Tensor, columns: Tensor) -> None:
        """Form the weight gradient of each sample, a few samples at a time, and add its square."""
        total = self.weight_total()
        at_once = _pieces(total)
        for some_rows, some_columns in zip(rows.split(at_once), columns.split(at_once), strict=True):
            total.add_((some_rows @ some_columns.transpose(2, 3)).square_().sum(dim=0))

    def _keep(self, rows: Tensor) -> None:
        """Sum g_t g_s over the backward passes, for t ≤ s: (pairs, samples, g, outputs of a group)."""
        by_position = rows.permute(3, 0, 1, 2).contiguous()
        first, second = torch.triu_indices(len(by_position), len(by_position), device=rows.device)
        if self._products is None:
            self._products = by_position[first] * by_position[second]
        else:
            self._products.addcmul_(by_position[first], by_position[second])

    def finish(self) -> None:
        if self._products is not None and self._input is not None:
            self._contract_kept(self._products, self.columns(self._input))
        self._products = self._columns = None
        super().finish()

    def _contract_kept(self, products: Tensor, columns: Tensor) -> None:
        """Add Σ_{t ≤ s} (Σ_passes g_t g_s)(u_t u_s), pairs of unequal positions twice."""
        used = columns.abs().amax(dim=(0, 3)).gt(0).any(dim=0)  # padding leaves whole rows of K at zero
        by_position = columns[:, :, used].permute(3, 0, 1, 2).contiguous()
        first, second = torch.triu_indices(len(by_position), len(by_position), device=columns.device)
        weights = torch.where(first == second, 1.0, 2.0).to(columns)[:, None, None, None]
        summed = torch.zeros_like(self.weight_total()[:, :, used])
        pieces = (values.split(_pieces(by_position[0])) for values in (products, first, second, weights))
        for product, t, s, weight in zip(*pieces, strict=True):
            pairs = by_position[t] * by_position[s] * weight
            summed += product.flatten(0, 1).permute(1, 2, 0) @ pairs.flatten(0, 1).transpose(0, 1)
        self.weight_total()[:, :, used] += summed


class _LinearLayer(_MatrixLayer):
    def weight_total(self) -> Tensor:
        return self.totals["weight"][None]

    def columns(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1, -2).transpose(1, 2)[:, None] if inputs.ndim > 2 else inputs[:, None, :, None]

    def rows(self, gradient: Tensor) -> Tensor:
        return _LinearLayer.columns(self, gradient)


class _EmbeddingLayer(_LinearLayer):
    """An embedding is a linear layer of indicator vectors, its weight transposed."""

    def weight_total(self) -> Tensor:
        return self.totals["weight"].t()[None]

    def columns(self, inputs: Tensor) -> Tensor:
        indicators = F.one_hot(inputs, self.module.num_embeddings).to(self.module.weight)
        if self.module.padding_idx is not None:
            indicators[..., self.module.padding_idx] = 0
        return super().columns(indicators)

    def rows(self, gradient: Tensor) -> Tensor:
        return super().columns(gradient)


class _Conv2dLayer(_MatrixLayer):
    def __init__(self, name: str, module: nn.Conv2d, passes: int):
        super().__init__(name, module, passes)
        if module.padding_mode != "zeros" or isinstance(module.padding, str):
            raise untreatable(name, f"is a convolution with padding {module.padding_mode} {module.padding}")

    def weight_total(self) -> Tensor:
        total = self.totals["weight"]
        return total.view(self.module.groups, len(total) // self.module.groups, -1)

    def columns(self, inputs: Tensor) -> Tensor:
        module = self.module
        if module.kernel_size == (1, 1) and module.padding == (0, 0):
            columns = inputs[:, :, :: module.stride[0], :: module.stride[1]].flatten(2)
        else:
            columns = F.unfold(inputs, module.kernel_size, module.dilation, module.padding, module.stride)
        return self._in_groups(columns)

    def rows(self, gradient: Tensor) -> Tensor:
        return self._in_groups(gradient.flatten(2))

    def _in_groups(self, values: Tensor) -> Tensor:
        return values.reshape(len(values), self.module.groups, -1, values.shape[-1])


class _AffineLayer(LayerContraction):
    """A normalisation in eval mode: γ x̂ + β."""

    @abstractmethod
    def normalised(self, inputs: Tensor) -> Tensor:
        """x̂, shaped like the input."""

    @abstractmethod
    def summed(self, values: Tensor) -> Tensor:
        """Sum over the positions that share an entry of γ: (samples, entries of γ)."""

    def begin(self, inputs: Tensor) -> None:
        super().begin(inputs)
        self._normalised = self.normalised(inputs)

    def add(self, inputs: Tensor, gradient: Tensor) -> None:
        self.add_bias(self.summed(gradient))
        if "weight" in self.totals:
            squares = self.summed(gradient * self._normalised).square().sum(dim=0)
            self.totals["weight"].add_(squares.view_as(self.totals["weight"]))


class _BatchNormLayer(_AffineLayer):
    def __init__(self, name: str, module: Any, passes: int):
        super().__init__(name, module, passes)
        if module.running_mean is None:
            raise untreatable(name, "is a batch normalisation without stored statistics: it mixes samples")

    def normalised(self, inputs: Tensor) -> Tensor:
        return F.batch_norm(inputs, self.module.running_mean, self.module.running_var, eps=self.module.eps)

    def summed(self, values: Tensor) -> Tensor:
        return values.flatten(2).sum(dim=2) if values.ndim > 2 else values


class _GroupNormLayer(_BatchNormLayer):
    def __init__(self, name: str, module: Any, passes: int):
        LayerContraction.__init__(self, name, module, passes)

    def normalised(self, inputs: Tensor) -> Tensor:
        return F.group_norm(inputs, self.module.num_groups, eps=self.module.eps)


class _LayerNormLayer(_AffineLayer):
    def normalised(self, inputs: Tensor) -> Tensor:
        return F.layer_norm(inputs, self.module.normalized_shape, eps=self.module.eps)

    def summed(self, values: Tensor) -> Tensor:
        entries = len(self.module.normalized_shape)
        return values.flatten(1, -entries - 1).sum(dim=1) if values.ndim > entries + 1 else values


class _BroadcastParameter(LayerContraction):
    """A parameter of shape (1, ...) that a module broadcasts over the samples, as vision transformers do with tokens.

    Each sample gets a copy of its own, whose gradient is the sample's.
    """

    def __init__(self, name: str, module: nn.Module, passes: int, own: str):
        super().__init__(name, module, passes)
        self._own = own

    @contextmanager
    def listening(self, samples: int, root: Tensor, totals: dict[str, Tensor]) -> Iterator[None]:
        self.totals = {self._own: totals[f"{self.name}.{self._own}".lstrip(".")]}
        kept = dict(self.module._parameters)  # restored as a whole: the order of parameters is the order of weights
        parameter = self.module._parameters.pop(self._own)
        copies = parameter.detach().expand(samples, *parameter.shape[1:]) + root
        copies.register_hook(lambda gradient: self.add(parameter, gradient))
        setattr(self.module, self._own, copies)
        try:
            yield
        finally:
            delattr(self.module, self._own)
            self.module._parameters.clear()
            self.module._parameters.update(kept)

    def add(self, inputs: Tensor, gradient: Tensor) -> None:
        self.totals[self._own].add_(gradient.square().sum(dim=0, keepdim=True))


LAYERS: dict[type[nn.Module], Callable[[str, Any, int], LayerContraction]] = {
    nn.Conv2d: _Conv2dLayer,
    nn.Linear: _LinearLayer,
    nn.Embedding: _EmbeddingLayer,
    nn.modules.batchnorm._BatchNorm: _BatchNormLayer,
    nn.LayerNorm: _LayerNormLayer,
    nn.GroupNorm: _GroupNormLayer,
}
