"""The original model, untouched: the reference row that shows what there was to forget."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from unsir_bench import Access, RunContext, UnlearningData, UnlearningMethod


@dataclass
class Original(UnlearningMethod):
    """Do nothing."""

    name: str = "original"
    requires = frozenset[Access]()

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        return model
