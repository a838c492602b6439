"""What a run hands to training and to methods: device, seeds, clock, progress and the log of curves."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from unsir_bench.models.model import ImageShape, ModelConfig
from unsir_bench.runtime.clock import Stopwatch
from unsir_bench.runtime.environment import environment
from unsir_bench.runtime.progress import Progress
from unsir_bench.runtime.seeding import derived_seed, generator, seed_everything
from unsir_bench.runtime.timing import timed_on, timing_conditions, timing_words

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import Tensor

    from unsir_bench.data.batches import DataView

SLOW_AT_FIRST = ("cuda", "mps")

CurveLog = Callable[[str, int, dict[str, float]], None]


class ScratchTrainer(Protocol):
    """Trains a network from its initial weights on a view, with the run's own recipe, or finds one so trained."""

    def __call__(self, view: DataView, context: RunContext) -> nn.Module:
        """A trained network on the device; its seconds, steps and reads are booked on ``context`` and ``view``."""
        ...


class Precomputation(Protocol):
    """Keeps what a method computes before it forgets, so that the same is computed once for all runs."""

    def __call__(
        self,
        kind: str,
        settings: Mapping[str, Any],
        model: nn.Module,
        view: DataView,
        compute: Callable[[DataView], dict[str, Tensor]],
        context: RunContext,
    ) -> dict[str, Tensor]:
        """What ``compute`` makes of a view, computed now or found; either way its seconds are booked as phase ``kind``.

        Args:
            kind: names it, and its phase.
            settings: plain values: everything that decides the result beside the model's weights and the samples.
            model: whose weights it is computed from.
            view: the samples it is computed from; each counts as read once.
            compute: called with the view if it is not there yet.
            context: device, seed, clock.

        Returns:
            The tensors by name, on the context's device.
        """
        ...


@dataclass
class RunContext:
    """The surroundings of one run.

    Attributes:
        fabric: Lightning Fabric: device, precision, backward.
        seed: the run's base seed; take generators from ``generator(role)``.
        architecture: the model's config node: initial weights, head, parameter groups.
        image_shape: (channels, height, width).
        num_classes: of the data set, forgotten ones included.
        forget_classes: indices of the classes to forget now; no sample of them is thereby seen.
        forgotten_before: indices of the classes that earlier steps of a sequence forgot.
        log: called with (phase, step, values) for each point of a curve.
        scratch_trainer: see ``ScratchTrainer``.
        precomputation: see ``Precomputation``.
        compiled: whether training compiles the network.
        channels_last: whether networks and images are laid out with the channels innermost.
        steps: optimiser steps by phase.
        stored_peak_bytes: peak memory of work that was measured elsewhere (a stored training).
        timed_elsewhere: by phase, why the seconds that the store has of it are not this machine's.
        kept: by name of a file, the tensors that are to lie in it beside the record; see ``keep``.
        fresh_precision: the state of Fabric's precision, a gradient scaler's, before any training.
    """

    fabric: Fabric
    seed: int
    architecture: ModelConfig
    image_shape: ImageShape
    num_classes: int
    forget_classes: tuple[int, ...]
    progress: Progress
    log: CurveLog
    forgotten_before: tuple[int, ...] = ()
    scratch_trainer: ScratchTrainer | None = None
    precomputation: Precomputation | None = None
    compiled: bool = False
    channels_last: bool = False
    clock: Stopwatch = field(init=False)
    steps: Counter[str] = field(default_factory=Counter)
    stored_peak_bytes: int = 0
    timed_elsewhere: dict[str, str] = field(default_factory=dict)
    kept: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    fresh_precision: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.clock = Stopwatch(self.device)
        if self.fresh_precision is None:
            self.fresh_precision = copy.deepcopy(self.fabric.strategy.precision.state_dict())

    @property
    def device(self) -> torch.device:
        """The device of the run."""
        return self.fabric.device

    @property
    def layout(self) -> torch.memory_format:
        """The memory layout of image batches and convolution weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def generator(self, *role: str | int) -> torch.Generator:
        """A CPU generator that depends on the run's seed and ``role`` only."""
        return generator(self.seed, *role)

    def seed_everything(self, *role: str | int) -> None:
        """Seed the global generators (dropout draws from them) for ``role``."""
        seed_everything(self.seed, *role)

    def train_from_scratch(self, view: DataView) -> nn.Module:
        """The network that the run's recipe makes of ``view`` alone, from the same initial weights as the original."""
        if self.scratch_trainer is None:
            raise RuntimeError("this context has no trainer from scratch")
        return self.scratch_trainer(view, self)

    def precomputed(
        self,
        kind: str,
        settings: Mapping[str, Any],
        model: nn.Module,
        view: DataView,
        compute: Callable[[DataView], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """What ``compute`` makes of ``view``, kept for other runs where a store is at hand; see ``Precomputation``."""
        if self.precomputation is not None:
            return self.precomputation(kind, settings, model, view, compute, self)
        with self.clock.phase(kind):
            result = compute(view.uncounted())
        view.usage.note(view.indices)
        return result

    def add_stored_cost(self, phase: str, manifest: Mapping[str, Any]) -> None:
        """Book work that an entry of the store saves: its seconds and, where known, peak memory, as measured then."""
        self.clock.add_stored_cost(phase, manifest["seconds"])
        self.stored_peak_bytes = max(self.stored_peak_bytes, manifest.get("peak_memory_bytes", 0))
        if (reason := self.why_not_timed_here(manifest)) is not None:
            self.timed_elsewhere[phase] = reason

    def timing_conditions(self) -> dict[str, Any]:
        """What the seconds of this run depend on."""
        return timing_conditions(environment(self.device))

    def timed_on(self, conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What an entry is to say its seconds were taken on, see ``records.timed_on``."""
        return timed_on(conditions)

    def why_not_timed_here(self, manifest: Mapping[str, Any]) -> str | None:
        """Why an entry's seconds are not this run's to compare with; None if they are, or if an old entry is silent."""
        there, here = manifest.get("timed_on"), self.timing_conditions()
        if there is None or there == here:
            return None
        return (
            f"the store's seconds were taken on {timing_words(there)}; this run is on {timing_words(here)}; "
            "an empty store.root takes them here"
        )

    def keep(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Hand over tensors for the run's folder, where they will lie as ``<name>.safetensors``.

        Args:
            name: of the file, without its suffix.
            tensors: copied to the CPU; those of a name kept before, by an earlier step of a sequence, are extended
                along the first dimension.
        """
        file = self.kept.setdefault(name, {})
        for key, tensor in tensors.items():
            copied = tensor.detach().to("cpu", copy=True).contiguous()
            file[key] = torch.cat([file[key], copied]) if key in file else copied

    def of_another_seed(self, seed: int) -> RunContext:
        """The same surroundings for work of another training seed, whose steps, curves and files are not this run's."""
        return replace(self, seed=seed, steps=Counter(), kept={}, log=lambda phase, step, values: None)

    def initial_network(self) -> nn.Module:
        """The network with the weights that the original started from, on the device."""
        return self._placed(self.architecture.initial(self.image_shape, self.num_classes, self.seed))

    def random_network(self, role: str) -> nn.Module:
        """A network of the same architecture with random weights of its own, never pretrained, on the device."""
        untrained = replace(self.architecture, pretrained=False, weights=None)
        return self._placed(untrained.initial(self.image_shape, self.num_classes, derived_seed(self.seed, role)))

    def reset_gradient_scaler(self) -> None:
        """Forget what scale earlier trainings came to, so that none depends on which others this process has done."""
        self.fabric.strategy.precision.load_state_dict(self.fresh_precision or {})

    def forward(self, model: nn.Module, images: Tensor, *, mixed: bool = True) -> Tensor:
        """float32 logits of a network that is not being trained by ``fit``, at the run's precision.

        Args:
            model: on the run's device.
            images: float32, normalised.
            mixed: False for gradients that nothing scales: at a mixed precision they are computed in float32, since
                half precision would round small ones to zero.
        """
        from lightning_fabric.plugins.precision import MixedPrecision

        # Training at a true 16- or 64-bit precision has converted the weights; images arrive as float32.
        dtype = next(model.parameters()).dtype
        in_full = not mixed and isinstance(self.fabric.strategy.precision, MixedPrecision)
        with nullcontext() if in_full else self.fabric.autocast():
            logits: Tensor = model(images.to(dtype))
        return logits.float()

    def warm_up(self, model: nn.Module, batch_size: int) -> None:
        """Pass made images forward and back through a copy of a network where the device is slow at first.

        A GPU's libraries are loaded and set up at their first use, seconds which are no method's. Neither the network
        nor a random generator is changed.
        """
        if self.device.type in SLOW_AT_FIRST:
            self._try_out(model, [batch_size])

    def compile(self, model: nn.Module, batch_sizes: Sequence[int]) -> None:
        """Compile a network that is to be trained, for batches of some sizes, outside every clock.

        Compilation is shared by networks of one architecture: a copy has it done before the first step.
        """
        with self.clock.paused():
            self._try_out(model, batch_sizes, compiled=True)
        model.compile()

    def _try_out(self, model: nn.Module, batch_sizes: Sequence[int], *, compiled: bool = False) -> None:
        """Made images of each size forward and back through a copy of a network; no random generator is changed."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            twin = copy.deepcopy(model).train()
            if compiled:
                twin.compile()
            for size in batch_sizes:
                images = torch.zeros((size, *self.image_shape), device=self.device)
                images = images.contiguous(memory_format=self.layout)
                self.forward(twin, images).sum().backward()

    def is_forgotten(self, labels: Tensor) -> Tensor:
        """Which of the labels are of forget classes, as a boolean tensor."""
        return torch.isin(labels, torch.tensor(self.forget_classes, device=labels.device))

    def _placed(self, model: nn.Module) -> nn.Module:
        # torch's annotations know no call with both a device and a layout of a module.
        return model.to(self.device, memory_format=self.layout)  # type: ignore[call-overload,no-any-return]
