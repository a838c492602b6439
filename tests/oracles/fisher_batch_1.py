"""The published computation of the Fisher diagonal: one sample at a time, one backward pass for each class.

Golatkar, Achille, Soatto, "Eternal Sunshine of the Spotless Net", CVPR 2020. Slow, and obviously right.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def fisher_batch_1(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """(1/N) Σ_x Σ_y p(y|x) (∂CE(x, y)/∂θ)² by parameter name, of a model in eval mode."""
    model.eval()
    totals = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for image in images:
        logits = model(image[None])
        probabilities = F.softmax(logits, dim=1)[0].detach()
        for label, probability in enumerate(probabilities):
            model.zero_grad(set_to_none=True)
            loss = F.cross_entropy(logits, torch.tensor([label], device=logits.device))
            loss.backward(retain_graph=label + 1 < len(probabilities))
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    totals[name] += probability * parameter.grad**2
    model.zero_grad(set_to_none=True)
    return {name: total / len(images) for name, total in totals.items()}
