"""Private training in place of forgetting (M. Abadi et al., "Deep Learning with Differential Privacy", CCS 2016).

The original is trained by DP-SGD (``train=dp_sgd``, a network with ``model.norm=group``), and then nothing is done: the
training promises that its weights are almost as likely without any one sample, (ε, δ) by a Rényi accountant. For all of
D_f at once the promise is that of group privacy (C. Dwork, A. Roth, 2014): |D_f| ε, and a δ that grows exponentially.
For a class it says nothing; the record holds the numbers as they come out.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from unsir_bench import Access, NotApplicable, RunContext, UnlearningData, UnlearningMethod, number
from unsir_bench.models.model import ModelConfig
from unsir_bench.training.privacy import for_group, missing_package, spent_epsilon, steps_per_epoch


@dataclass
class DPSGD(UnlearningMethod):
    """Leave a privately trained original as it is, and state what its training promises.

    ``noise_multiplier``, ``sample_rate`` and ``epochs`` are those of the original's training; None: it was not private.
    """

    name: str = "dp_sgd"
    delta: float = number(1e-5, above=0, below=1)
    noise_multiplier: float | None = number(None, above=0)
    sample_rate: float | None = number(None, above=0, at_most=1)
    epochs: int = number(1, at_least=0)
    requires = frozenset[Access]()

    def unsuitable(self, architecture: ModelConfig) -> str | None:
        if architecture.frozen_backbone:
            return f"method '{self.name}' states what a private training promises; model={architecture.name} has none"
        return super().unsuitable(architecture)

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        if self.noise_multiplier is None or self.sample_rate is None:
            raise NotApplicable("dp_sgd does nothing by itself: the original has to be private; choose train=dp_sgd")
        if (missing := missing_package()) is not None:
            raise NotApplicable(f"dp_sgd {missing}")
        with context.clock.phase("accounting"):
            steps = self.epochs * steps_per_epoch(self.sample_rate)
            of_one = spent_epsilon(self.noise_multiplier, self.sample_rate, steps, self.delta)
            epsilon, delta = for_group(of_one, self.delta, data.forgotten_samples)
        context.guarantee(
            sample_epsilon=of_one,
            sample_delta=self.delta,
            epsilon=epsilon,
            delta=delta,
            group_size=data.forgotten_samples,
        )
        return model
