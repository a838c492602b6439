"""Amnesiac unlearning (L. Graves, V. Nagisetty, V. Ganesh, "Amnesiac Machine Learning", AAAI 2021), both variants.

``relabel`` (what later papers call amnesiac): D_f gets random wrong labels, fixed once, and the network trains on them
together with D_r. The authors' notebooks train 10 epochs of Adam at 1e-3, batch 64 (``method=amnesiac_published``), and
go on with the optimiser's state from the original's training, here and in the repair below; ours starts Adam afresh,
since a method gets the original's weights alone. 3 epochs at 1e-4, batch 128, are those of SSD's port.

``subtract`` (the paper's own): the updates of all batches that held a forget sample, recorded while the original
trained, are subtracted once; the network is then repaired on D_r. Batch-normalisation statistics are not reverted. With
batch 64 and 10 classes nearly every batch holds a sample of any class, so that the subtraction returns almost to the
initial weights; with 100 classes about half of the batches do. Of samples drawn at random from all classes, even 10 %
touch nearly every batch; the paper's case is few samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, choice, fit
from unsir_bench.data.batches import joined
from unsir_bench.unlearning.relabelling import LABEL_SOURCES, random_labels


@dataclass
class Amnesiac(UnlearningMethod):
    """``variant=relabel`` trains on wrong labels; ``variant=subtract`` takes recorded updates back, then repairs."""

    name: str = "amnesiac"
    variant: str = choice("relabel", ("relabel", "subtract"))
    train: Recipe = field(default_factory=lambda: Recipe(name="amnesiac", lr=1e-4, epochs=3, batch_size=128))
    labels_from: str = choice("retained", LABEL_SOURCES)

    @property
    def requires(self) -> frozenset[Access]:
        other = Access.TRAIN_HISTORY if self.variant == "subtract" else Access.FORGET_DATA
        return frozenset({Access.RETAIN_DATA, other})

    def overruled(self) -> Sequence[str]:
        return ("labels_from",) if self.variant == "subtract" else ()

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        if self.variant == "subtract":
            self._subtract(model, data, context)
            view = data.retain
        else:
            wrong = random_labels(data.forget.labels, self.labels_from, context, "amnesiac labels")
            view = joined(data.retain, data.forget.relabelled(wrong))
        phase = "repair" if self.variant == "subtract" else "train"
        with context.clock.phase(phase):
            fit(model, EpochBatches.from_view(view, self.train, context, "amnesiac"), self.train, context, phase)
        return model

    @staticmethod
    def _subtract(model: nn.Module, data: UnlearningData, context: RunContext) -> None:
        log = data.training_log
        context.add_stored_cost("log", log.manifest)
        with context.clock.phase("subtract"), torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.sub_(log.updates[name].to(parameter.device))
