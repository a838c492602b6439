"""How fast a network trains here: a few batches of its own recipe, for estimates before any training was recorded."""

from __future__ import annotations

from dataclasses import replace

import torch

from unsir_bench.config import Config
from unsir_bench.data.dataset import ImageData
from unsir_bench.data.device_data import DeviceData
from unsir_bench.runtime.progress import Progress
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import FitState, fit

BATCHES = 10
LONGEST = 2.0  # seconds, about


def seconds_per_sample(config: Config, images: ImageData) -> float:
    """Seconds of training per sample on one device; nothing is kept of what is trained.

    Ten batches are timed, or as many as take two seconds, after one that warms up.

    Args:
        config: its network, recipe and hardware settings are tried.
        images: of its data set.
    """
    context, data = _prepared(config, images)
    recipe = replace(config.train, epochs=1, schedule="constant", decay_epochs=[], plateau_watch="train")
    model = context.initial_network()

    def trained_on(batches: int) -> FitState:
        samples = torch.arange(min(batches * recipe.batch_size, len(data.labels("train"))))
        view = data.view("train", samples).uncounted()
        return fit(model, EpochBatches.from_view(view, recipe, context, "trial"), recipe, context, "trial")

    slowest = trained_on(1).seconds
    done = trained_on(max(1, min(BATCHES, int(LONGEST / slowest))))
    return done.seconds / done.samples


def _prepared(config: Config, images: ImageData) -> tuple[RunContext, DeviceData]:
    hardware = replace(config.hardware, devices=1, compile=False)
    fabric = hardware.start(config.model.cpu_threads)
    data = DeviceData(images, config.dataset, hardware, fabric.device, config.channels_last)
    context = RunContext(
        fabric=fabric,
        seed=config.seed,
        architecture=config.model,
        image_shape=data.image_shape,
        num_classes=data.num_classes,
        forget_classes=(),
        progress=Progress(interactive=False),
        log=lambda phase, step, values: None,
        channels_last=config.channels_last,
    )
    return context, data
