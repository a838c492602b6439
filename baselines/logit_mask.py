"""A control that forgets nothing: it masks the logits of the forget classes.

A_Df (accuracy on forget samples) is 0 by construction and A_Dr (on retain samples) can only rise, although all weights
except the head's bias, and so all features of the forget samples, are the original's. We include it as a control: zero
A_Df does not prove forgetting.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from unsir_bench import Access, RunContext, UnlearningData, UnlearningMethod

# Lowers a logit below any other, yet keeps logits and losses finite in half precision.
MASK = 1e4


@dataclass
class LogitMask(UnlearningMethod):
    """Lower the head's bias of each forget class so far that the class is never predicted."""

    name: str = "logit_mask"
    requires = frozenset[Access]()
    needs_classes = True

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        with context.clock.phase("mask"), torch.no_grad():
            context.architecture.linear_head(model).bias[list(context.forget_classes)] -= MASK
        return model
