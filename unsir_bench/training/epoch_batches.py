"""The batches of each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from unsir_bench.data.batches import Batch, DataView, batch_sizes
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe


@dataclass(frozen=True)
class EpochBatches:
    """The batches of each epoch, drawn from (seed, role, epoch), so that a resumed training sees the same ones."""

    batches: Callable[[int], Iterable[Batch]]
    samples: int
    batch_size: int
    count_steps: Callable[[int], int] | None = None

    @classmethod
    def from_view(cls, view: DataView, recipe: Recipe, context: RunContext, role: str) -> EpochBatches:
        """Shuffled and augmented batches of a view; dropout, too, is seeded for each epoch."""
        return cls.from_views(lambda epoch: view, len(view), recipe, context, role)

    @classmethod
    def from_views(
        cls, view_of: Callable[[int], DataView], samples: int, recipe: Recipe, context: RunContext, role: str
    ) -> EpochBatches:
        """As ``from_view``, of a view that changes from epoch to epoch and always has ``samples`` samples."""

        def of_epoch(epoch: int) -> Iterable[Batch]:
            context.seed_everything(role, "dropout", epoch)
            order = context.generator(role, "order", epoch)
            return view_of(epoch).batches(recipe.batch_size, order=order, augment=recipe.augment.in_epoch(epoch))

        return cls(of_epoch, samples, recipe.batch_size)

    @classmethod
    def poisson(cls, view: DataView, recipe: Recipe, context: RunContext, role: str) -> EpochBatches:
        """As ``from_view``, each batch drawn by Poisson sampling as ``recipe.privacy`` asks; batches vary in size."""
        assert recipe.privacy is not None  # noqa: S101 - asked for only where it is given
        rate, steps = recipe.privacy.sample_rate, recipe.privacy.steps_per_epoch

        def of_epoch(epoch: int) -> Iterator[Batch]:
            context.seed_everything(role, "noise", epoch)
            draws = context.generator(role, "order", epoch)
            for _ in range(steps):
                drawn = torch.where(torch.rand(len(view), generator=draws) < rate)[0]
                yield view.fetch(drawn, augment=recipe.augment.in_epoch(epoch), order=draws)

        return cls(of_epoch, len(view), recipe.batch_size, count_steps=lambda epochs: steps * epochs)

    @property
    def sizes(self) -> list[int]:
        """The distinct batch sizes of an epoch, in order of appearance."""
        return list(dict.fromkeys(batch_sizes(self.samples, self.batch_size)))

    @property
    def steps(self) -> int:
        """Batches per epoch, if all epochs have the same number."""
        return len(batch_sizes(self.samples, self.batch_size))

    def steps_in(self, epochs: int) -> int:
        """Batches in the first ``epochs`` epochs; ``count_steps`` gives it if epochs differ."""
        return self.steps * epochs if self.count_steps is None else self.count_steps(epochs)
