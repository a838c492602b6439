"""How fast the parts of a job are here: making a batch, a training step, a noise step. Run by `make bench`.

Prints the median of several repetitions after a warm-up, in images per second; all are measured in one process.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.batches import DataView, Normalisation, ResidentImages
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.model import ModelConfig, frozen
from unsir_bench.models.torchvision_models import ResNet18
from unsir_bench.runtime.hardware import HardwareConfig, synchronise

BATCH = 128
REPETITIONS = 7
CIFAR = (3, 32, 32)


def images_per_second(work: Callable[[], None], device: torch.device) -> float:
    """Median rate of `work`, which treats one batch."""
    work()
    seconds = []
    for _ in range(REPETITIONS):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return BATCH / statistics.median(seconds)


def batch_rates(device: torch.device) -> dict[str, float]:
    """Normalised batches from resident bytes, plain and augmented."""
    images = np.random.default_rng(0).integers(0, 256, (BATCH, *CIFAR), dtype=np.uint8)
    normalise = Normalisation((0.5,), (0.25,))
    view = DataView(
        ResidentImages(images, device), torch.zeros(BATCH, dtype=torch.long), torch.arange(BATCH), normalise
    )
    draws = torch.Generator().manual_seed(0)
    variants = {"batch, plain": None, "batch, flip and crop": Augmentation(flip=True, crop_padding=4)}
    return {
        name: images_per_second(lambda a=augment: list(view.batches(BATCH, order=draws, augment=a)), device)  # type: ignore[misc]
        for name, augment in variants.items()
    }


def step_rates(config: ModelConfig, device: torch.device, *, channels_last: bool) -> tuple[float, float]:
    """Rates of a training step and of a noise step (gradients for the images alone) of one network."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = config.initial(CIFAR, 10, seed=0).to(device, memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(BATCH, *CIFAR, device=device).contiguous(memory_format=layout)
    labels = torch.zeros(BATCH, dtype=torch.long, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    def learn_noise() -> None:
        learned = images.clone().requires_grad_()
        (-F.cross_entropy(model(learned), labels)).backward()

    trained = images_per_second(train, device)
    with frozen(model, training=False):
        return trained, images_per_second(learn_noise, device)


def main() -> None:
    """Measure and print."""
    hardware = HardwareConfig()
    device = hardware.start().device
    rates = batch_rates(device)
    for config in (ResNet18(stem="cifar", width=16), AllCNNConfig(width=16)):
        for channels_last in (False, True):
            label = f"{config.name} width {config.width}, {'channels last' if channels_last else 'channels first'}"
            rates[f"training step, {label}"], rates[f"noise step, {label}"] = step_rates(
                config, device, channels_last=channels_last
            )
    table = Table(title=f"images/s at batch {BATCH}, 3x32x32, on {device.type}, {torch.get_num_threads()} threads")
    table.add_column("part")
    table.add_column("images/s", justify="right")
    for name, rate in sorted(rates.items()):
        table.add_row(name, f"{rate:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
