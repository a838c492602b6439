"""RunContext: what a run gives to training and to methods: device, seeds, clock, progress, networks, curve log."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from unsir_bench.guarantees import Guarantees, checked_guarantees
from unsir_bench.models.model import ImageShape, ModelConfig
from unsir_bench.runtime.clock import Stopwatch
from unsir_bench.runtime.environment import environment
from unsir_bench.runtime.progress import Progress
from unsir_bench.runtime.seeding import derived_seed, generator, role_in_step, seed_everything
from unsir_bench.runtime.timing import timing_conditions, why_not_comparable

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import Tensor

    from unsir_bench.data.batches import DataView
    from unsir_bench.training.services import BackboneFeatures, CurveLog, Precomputation, ScratchTrainer


@dataclass
class RunContext:
    """Everything that one run shares with training and with its method.

    Attributes:
        fabric: Lightning Fabric: device, precision, backward.
        seed: what all draws depend on: the training seed, or, while a method works, the run's unlearning seed (see
            ``in_step``); take generators from ``generator(role)``.
        architecture: the model's config node: initial weights, head, parameter groups.
        image_shape: (channels, height, width).
        num_classes: of the data set, forgotten ones included.
        forget_classes: indices of the classes to forget now; knowing them reads no sample.
        progress: shows progress to a person.
        log: called with (phase, step, values) for each point of a curve.
        forgotten_before: indices of the classes that earlier steps of a sequence forgot.
        forget_superclasses: where a sub-class is to be forgotten now, the classes that it belongs to; else empty.
        step: of a forgetting sequence, while a method works on it (see ``in_step``); else 0.
        scratch_trainer, precomputation, backbone_features: backed by the store; see ``unsir_bench.training.services``.
        compiled: whether training compiles the network.
        channels_last: whether networks and images use the channels-last memory layout.
        steps: optimiser steps by phase.
        stored_peak_bytes: peak memory of work measured elsewhere (a stored training, for example).
        timed_elsewhere: by phase, why its stored seconds were not taken under this run's conditions.
        kept: tensors to write beside the record, by file name; see ``keep``.
        guarantees: what the method promises; see ``guarantee``.
        fresh_precision: state of Fabric's precision plug-in (a gradient scaler) before any training.
        training_seed: of initial weights and of every reference, whatever a method draws from.
        at_stage: what the runner does with a model at a stage of the method; see ``stage``.
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
    forget_superclasses: tuple[int, ...] = ()
    step: int = 0
    scratch_trainer: ScratchTrainer | None = None
    precomputation: Precomputation | None = None
    backbone_features: BackboneFeatures | None = None
    compiled: bool = False
    channels_last: bool = False
    clock: Stopwatch = field(init=False)
    training_seed: int = field(init=False)
    steps: Counter[str] = field(default_factory=Counter)
    stored_peak_bytes: int = 0
    timed_elsewhere: dict[str, str] = field(default_factory=dict)
    kept: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    guarantees: Guarantees = field(default_factory=dict)
    fresh_precision: dict[str, Any] | None = None
    at_stage: Callable[[str, nn.Module], None] | None = None

    def __post_init__(self) -> None:
        self.clock = Stopwatch(self.device)
        self.training_seed = self.seed
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

    @contextmanager
    def in_step(self, step: int, seed: int | None = None) -> Iterator[None]:
        """Make every draw depend on ``step`` of a sequence and on ``seed``.

        Args:
            step: from 0; step 0 draws as a single request does.
            seed: None: the training seed.
        """
        before = self.step, self.seed
        self.step, self.seed = step, self.training_seed if seed is None else seed
        try:
            yield
        finally:
            self.step, self.seed = before

    @contextmanager
    def without_training_data(self, *, kept: bool = False) -> Iterator[None]:
        """Take away the trainer from scratch, which holds the data set, unless ``kept``; it is back afterwards."""
        trainer = self.scratch_trainer
        self.scratch_trainer = trainer if kept else None
        try:
            yield
        finally:
            self.scratch_trainer = trainer

    def generator(self, *role: str | int) -> torch.Generator:
        """A CPU generator that depends on the run's seed, ``role`` and the step of a sequence only."""
        return generator(self.seed, *role_in_step(role, self.step))

    def seed_everything(self, *role: str | int) -> None:
        """Seed the global generators (dropout draws from them) for ``role`` and the step of a sequence."""
        seed_everything(self.seed, *role_in_step(role, self.step))

    def train_from_scratch(self, view: DataView) -> nn.Module:
        """The network trained on ``view`` alone by the run's recipe, from the original's initial weights."""
        if self.scratch_trainer is None:
            raise RuntimeError("this context has no trainer from scratch")
        with self.in_step(0):  # a reference, which neither a step of a sequence nor the unlearning seed changes
            return self.scratch_trainer(view, self)

    def precomputed(
        self,
        kind: str,
        settings: Mapping[str, Any],
        model: nn.Module,
        view: DataView,
        compute: Callable[[DataView], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """The tensors ``compute(view)`` returns, from the store if there is one; see ``Precomputation``."""
        if self.precomputation is not None:
            drawn_in = {"step": self.step} if self.step else {}
            return self.precomputation(kind, {**settings, **drawn_in}, model, view, compute, self)
        with self.clock.phase(kind):
            result = compute(view.uncounted())
        view.usage.note(view.indices)
        return result

    def add_stored_cost(self, phase: str, manifest: Mapping[str, Any]) -> None:
        """Add the cost of stored work to ``phase``: its seconds and, where known, stops and peak memory."""
        self.clock.add_stored_cost(phase, manifest["seconds"], manifest.get("stops", 0))
        self.stored_peak_bytes = max(self.stored_peak_bytes, manifest.get("peak_memory_bytes", 0))
        if (reason := self.why_not_timed_here(manifest)) is not None:
            self.timed_elsewhere[phase] = reason

    def timing_conditions(self) -> dict[str, Any]:
        """The conditions this run's seconds depend on; see ``unsir_bench.runtime.timing``."""
        return timing_conditions(environment(self.device))

    def why_not_timed_here(self, manifest: Mapping[str, Any]) -> str | None:
        """Why a store entry's seconds cannot be compared with this run's; None if they can, or if it does not say."""
        return why_not_comparable(manifest.get("timed_on"), self.timing_conditions())

    def keep(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors for the run's folder; the runner writes them as ``<name>.safetensors``.

        Args:
            name: of the file, without its suffix.
            tensors: copied to the CPU; a tensor kept under the same name by an earlier step of a sequence is extended
                along the first dimension.
        """
        file = self.kept.setdefault(name, {})
        for key, tensor in tensors.items():
            copied = tensor.detach().to("cpu", copy=True).contiguous()
            file[key] = torch.cat([file[key], copied]) if key in file else copied

    def guarantee(self, **numbers: float | None) -> None:
        """State what the method promises by its procedure; the record gets it as ``guarantees``.

        Args:
            numbers: by a name of ``unsir_bench.guarantees.GUARANTEES``: finite, or None where nothing is promised. A
                later statement, as of the next step of a sequence, replaces an earlier one of the same name.

        Raises:
            ValueError: a name has no card, or a value is not finite or outside the range of its card.
        """
        self.guarantees |= checked_guarantees(numbers)

    def of_another_seed(self, seed: int) -> RunContext:
        """A copy of this context for another training seed; its steps, curves and kept files are not this run's."""
        return replace(
            self, seed=seed, steps=Counter(), kept={}, log=lambda phase, step, values: None, at_stage=None,
            timed_elsewhere={}, stored_peak_bytes=0, guarantees={},
        )  # fmt: skip

    def stage(self, name: str, model: nn.Module) -> None:
        """Mark that a part of the method is done; the record gets A_Dr and A_Df of ``model`` as it is now.

        The method may mark any number of stages, or none. Nothing of the run changes: the clock stands still,
        generators, modes and batch statistics stay as they are, and the peak memory is that of the method.

        Args:
            name: of the part, such as ``impair``.
            model: on the run's device.
        """
        if self.at_stage is not None:
            with self.clock.paused():
                self.at_stage(name, model)

    def initial_network(self) -> nn.Module:
        """The network with the original's initial weights, on the device."""
        return self._placed(self.architecture.initial(self.image_shape, self.num_classes, self.training_seed))

    def network_with(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """The network with trained weights, on the device, and of the run's precision where that is a true one."""
        model = self.initial_network()
        if not self.architecture.frozen_backbone:  # whose heads are solved in float64 at any precision
            model = self.fabric.strategy.precision.convert_module(model)
        model.load_state_dict(weights)
        return model

    def random_network(self, role: str) -> nn.Module:
        """A network of the same architecture with weights drawn for ``role``, never pretrained, on the device."""
        seed = derived_seed(self.seed, *role_in_step((role,), self.step))
        return self._placed(self.architecture.untrained().initial(self.image_shape, self.num_classes, seed))

    def reset_gradient_scaler(self) -> None:
        """Reset the gradient scaler, so that no training depends on which others this process has done."""
        self.fabric.strategy.precision.load_state_dict(self.fresh_precision or {})

    def forward(self, model: nn.Module, images: Tensor, *, mixed: bool = True) -> Tensor:
        """float32 logits at the run's precision, of a network that ``fit`` is not training at the moment.

        Args:
            model: on the run's device.
            images: float32, normalised.
            mixed: False computes in float32 at a mixed precision: for gradients without a scaler, the small ones of
                which half precision would round to zero.
        """
        from lightning_fabric.plugins.precision import MixedPrecision

        # Training at a true 16- or 64-bit precision has converted the weights; images arrive as float32.
        dtype = next(model.parameters()).dtype
        in_full = not mixed and isinstance(self.fabric.strategy.precision, MixedPrecision)
        with nullcontext() if in_full else self.fabric.autocast():
            logits: Tensor = model(images.to(dtype))
        return logits.float()

    def _placed(self, model: nn.Module) -> nn.Module:
        # torch's annotations know no call with both a device and a layout of a module.
        return model.to(self.device, memory_format=self.layout)  # type: ignore[call-overload,no-any-return]
