"""The diagonal of the Fisher information of a softmax classifier, exact and fast.

    F_j = (1/N) Σ_x Σ_y p(y|x) (∂CE(x, y)/∂θ_j)²

over N samples x and all classes y, in eval mode. It is the diagonal of the generalised Gauss-Newton matrix Jᵀ(diag p -
p pᵀ)J. Squared gradients of batch means, which some public code calls Fisher, are another, biased quantity.

The published computation takes one sample at a time and C backward passes for each. Here a batch takes one forward and
C backward passes (class y weighted by √p(y|x)), and these stop at the layers' outputs: weight gradients are contracted
per sample, layer by layer (``layer_contractions``). Memory depends on the batch size, not on the number of samples.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.data.batches import DataView
from unsir_bench.errors import NotApplicable
from unsir_bench.models.model import frozen, in_mode
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.fisher.layer_contractions import contractions_for, untreatable

CHECKED_SAMPLES = 2
CHECK_TOLERANCE = 1e-3


def fisher_diagonal(
    model: nn.Module, view: DataView, context: RunContext, *, labels: str, batch_size: int, fallback: bool
) -> dict[str, Tensor]:
    """F of every parameter, over the samples of a view.

    Args:
        model: on the context's device; unchanged.
        view: the N samples; their labels play no part.
        context: device, precision, seed.
        labels: ``exact``: all classes, weighted by the model's probabilities; ``mc``: one label drawn from them for
            each sample, an unbiased estimate for a C-th of the time.
        batch_size: samples at once.
        fallback: take the exact per-sample path, one backward pass per sample and class, for a network with a module
            that the fast path cannot treat.

    Returns:
        By parameter name, shaped like the parameter.

    Raises:
        NotApplicable: a module cannot be treated, and ``fallback`` is false; the module is named.
    """
    passes = context.num_classes if labels == "exact" else 1
    model = _in_single_precision(model)
    draws = context.generator("fisher labels")
    totals = _zeros(model)
    engine: _BatchedEngine | _PerSampleEngine
    try:
        engine = batched = _BatchedEngine(model, passes, context)
        batched.check(next(view.uncounted().batches(CHECKED_SAMPLES)))
    except NotApplicable:
        if not fallback:
            raise
        engine = _PerSampleEngine(model, context)
    with context.progress.task("fisher", len(view), "images") as task:
        for images, _ in view.batches(batch_size):
            engine.add(images, labels, draws, totals)
            task.advance(len(images))
    return {name: total / len(view) for name, total in totals.items()}


def _in_single_precision(model: nn.Module) -> nn.Module:
    """The model, or a float32 copy where its weights have 16 bits.

    The fast path rounds otherwise than autograd, in 16 bits by more than the check may let pass, and a sum of many
    squares in 16 bits stops growing.
    """
    if all(parameter.element_size() >= 4 for parameter in model.parameters()):
        return model
    return copy.deepcopy(model).float()


def _zeros(model: nn.Module) -> dict[str, Tensor]:
    """A contiguous sum for each parameter, whatever the parameter's own layout: layers see it as a matrix."""
    return {name: torch.zeros(value.shape, device=value.device) for name, value in model.named_parameters()}


def _drawn(log_probabilities: Tensor, draws: torch.Generator) -> Tensor:
    probabilities = log_probabilities.detach().exp().cpu()
    return torch.multinomial(probabilities, 1, generator=draws).squeeze(1).to(log_probabilities.device)


class _PerSampleEngine:
    """One backward pass for each sample and class: slow, and right for any network."""

    def __init__(self, model: nn.Module, context: RunContext):
        self.model, self.context = model, context

    def add(self, images: Tensor, labels: str, draws: torch.Generator, totals: dict[str, Tensor]) -> None:
        """Add Σ_x Σ_y p(y|x) (∂CE(x, y)/∂θ)² of a batch, or with drawn labels Σ_x (∂CE(x, y_x)/∂θ)², to ``totals``."""
        parameters = list(self.model.parameters())
        with in_mode(self.model, training=False):
            for image in images.split(1):
                log_p = torch.log_softmax(self.context.forward(self.model, image, mixed=False), dim=1)[0]
                targets = range(len(log_p)) if labels == "exact" else _drawn(log_p[None], draws).tolist()
                for target in targets:
                    weight = log_p[target].detach().exp() if labels == "exact" else 1.0
                    gradients = torch.autograd.grad(-log_p[target], parameters, retain_graph=True, allow_unused=True)
                    for total, gradient in zip(totals.values(), gradients, strict=True):
                        if gradient is not None:
                            total.add_(weight * gradient.square())


class _BatchedEngine:
    """Batches, output-side backward passes and contractions layer by layer."""

    def __init__(self, model: nn.Module, passes: int, context: RunContext):
        """Prepare a layer for every module that owns parameters.

        Raises:
            NotApplicable: a module is of an unknown kind.
        """
        self.model, self.context = model, context
        self.layers = [
            layer
            for name, module in model.named_modules()
            if any(True for _ in module.parameters(recurse=False))
            for layer in contractions_for(name, module, passes)
        ]

    def add(self, images: Tensor, labels: str, draws: torch.Generator, totals: dict[str, Tensor]) -> None:
        """As the per-sample engine."""
        with self._watched(len(images), totals) as root:
            log_p = torch.log_softmax(self.context.forward(self.model, images, mixed=False), dim=1)
            if labels == "exact":
                losses = -(log_p * log_p.detach().mul(0.5).exp()).sum(dim=0)
            else:
                losses = F.nll_loss(log_p, _drawn(log_p, draws), reduction="sum")[None]
            self._backward(list(losses), root)

    def check(self, batch: tuple[Tensor, Tensor]) -> None:
        """Compare with autograd on a few samples: a subclass may compute something else than its base.

        Raises:
            NotApplicable: a parameter's sum is wrong; it is named.
        """
        images, labels = batch
        fast, slow = _zeros(self.model), _zeros(self.model)
        with self._watched(len(images), fast) as root:
            losses = F.cross_entropy(self.context.forward(self.model, images, mixed=False), labels, reduction="sum")
            self._backward([losses], root)
        with in_mode(self.model, training=False):
            for image, label in zip(images.split(1), labels.split(1), strict=True):
                loss = F.cross_entropy(self.context.forward(self.model, image, mixed=False), label)
                gradients = torch.autograd.grad(loss, list(self.model.parameters()), allow_unused=True)
                for total, gradient in zip(slow.values(), gradients, strict=True):
                    if gradient is not None:
                        total.add_(gradient.square())
        for name, exact in slow.items():
            if (fast[name] - exact).abs().max() > CHECK_TOLERANCE * exact.abs().max() + torch.finfo(exact.dtype).tiny:
                raise untreatable(name, "computes something else than its kind does")

    def _backward(self, losses: list[Tensor], root: Tensor) -> None:
        for loss in losses:
            loss.backward(inputs=[root], retain_graph=True)
        for layer in self.layers:
            layer.finish()

    @contextmanager
    def _watched(self, samples: int, totals: dict[str, Tensor]) -> Iterator[Tensor]:
        """The model in eval mode, frozen, with every layer listening; yields the leaf that all graphs begin with."""
        root = torch.zeros((), device=self.context.device, requires_grad=True)
        with ExitStack() as stack:
            stack.enter_context(frozen(self.model, training=False))
            for layer in self.layers:
                stack.enter_context(layer.listening(samples, root, totals))
            yield root
