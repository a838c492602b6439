"""The control that forgets nothing: the logits of the forget classes are masked.

A_Df is 0 by construction, and A_Dr can only rise, while every weight but the head's bias, and with it every feature of
the forgotten samples, is the original's. A table that ranks by accuracy alone ranks this first, which is why every
table shows it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from unsir_bench import RunContext, UnlearningData, UnlearningMethod

# Lower than any logit, yet finite in half precision, and so are losses on masked samples.
MASK = 1e4


@dataclass
class LogitMask(UnlearningMethod):
    """Lower the head's bias of each forget class so far that the class is never predicted."""

    name: str = "logit_mask"
    requires = frozenset()

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        with context.clock.phase("mask"), torch.no_grad():
            context.architecture.linear_head(model).bias[list(context.forget_classes)] -= MASK
        return model
