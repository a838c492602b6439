"""Work that must be done before a clock starts: first use of a GPU's libraries, and compilation."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from unsir_bench.runtime.clock import Instant
from unsir_bench.training.context import RunContext

SLOW_AT_FIRST = ("cuda", "mps")


def warm_up(model: nn.Module, batch_size: int, context: RunContext) -> None:
    """Pass one dummy batch forward and back through a copy of a network, if the device is slow at first use.

    Loading and setting up a GPU's libraries takes seconds that belong to no method. Neither the network nor a random
    generator changes.
    """
    if context.device.type in SLOW_AT_FIRST:
        try_out(model, [batch_size], context)


def compile_for(model: nn.Module, batch_sizes: Sequence[int], context: RunContext) -> float:
    """Compile a network for batches of these sizes, in place, and in the modes that its modules are in.

    Networks of one architecture share their compiled code, so a copy compiles it before the first step.

    Returns:
        The seconds it took, which ``context.clock`` does not count.
    """
    started = Instant(context.device)
    with context.clock.paused():
        try_out(model, batch_sizes, context, compiled=True)
    model.compile()
    return Instant(context.device).seconds_since(started)


def try_out(model: nn.Module, batch_sizes: Sequence[int], context: RunContext, *, compiled: bool = False) -> None:
    """Pass a dummy batch of each size forward and back through a copy of a network; no random generator changes.

    The copy is in train mode, or, if it is to be compiled, in the network's own: each mode is compiled for itself.
    """
    with torch.random.fork_rng([context.device] if context.device.type == "cuda" else []):
        twin = copy.deepcopy(model)
        if compiled:
            twin.compile()
        else:
            twin.train()
        for size in batch_sizes:
            images = torch.zeros((size, *context.image_shape), device=context.device)
            context.forward(twin, images.contiguous(memory_format=context.layout)).sum().backward()
