"""Seconds per sample of the published batch-1 Fisher loop and of the fast exact diagonal. Run by `make bench`.

Both see the same samples in one process, after a warm-up, by turns in each repetition; the relative error is between
their results, and peak memory is that of the fast diagonal, over the given samples and over four times as many: it
should not grow.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tests.benchmarks.measured import device_words, mean_words, print_table, timed, write_figures
from tests.oracles.fisher_batch_1 import fisher_batch_1
from unsir_bench.data.batches import DataView, Normalisation, ResidentImages
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.models.timm_models import TimmModel
from unsir_bench.models.torchvision_models import ResNet18
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.runtime.peak_memory import PeakMemory
from unsir_bench.runtime.progress import Progress
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.fisher.diagonal import fisher_diagonal

CLASSES = 10
SHAPE = (3, 32, 32)
NETWORKS: dict[str, ModelConfig] = {
    "resnet18": ResNet18(),
    "resnet18 cifar stem": ResNet18(stem="cifar"),
    "allcnn": AllCNNConfig(),
    "vit": TimmModel(arch="vit_tiny_patch16_224", options={"patch_size": 4}),
}


@dataclass
class Comparison:
    """What was measured of one network; seconds per sample, one by one of the repetitions, and memory in bytes."""

    network: str
    samples: int
    loop: list[float]
    exact: list[float]
    mc: list[float]
    relative_error: float
    peak_memory: int
    peak_memory_of_four_times: int


def context_of(architecture: ModelConfig, fabric: Fabric) -> RunContext:
    """The surroundings of a computation on made images."""
    return RunContext(
        fabric=fabric,
        seed=0,
        architecture=architecture,
        image_shape=SHAPE,
        num_classes=CLASSES,
        forget_classes=(0,),
        progress=Progress(interactive=False),
        log=lambda *point: None,
    )


def made_images(count: int, device: torch.device) -> DataView:
    """Uniform random pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    labels = torch.zeros(count, dtype=torch.long)
    return DataView(ResidentImages(pixels, device), labels, torch.arange(count), Normalisation((0.5,), (0.25,)))


def with_statistics(model: nn.Module, view: DataView) -> nn.Module:
    """Batch-normalisation statistics of the images, as a trained network has them."""
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(view.fetch(torch.arange(len(view)))[0])
    return model.eval()


def as_published(architecture: ModelConfig, model: nn.Module, fabric: Fabric) -> nn.Module:
    """The same network as its library builds it, in its library's memory layout, in the same mode."""
    published = architecture.build(SHAPE, CLASSES)
    published.load_state_dict(model.state_dict())
    return published.to(fabric.device).train(model.training)


def relative_error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """‖found - expected‖ / ‖expected‖ over all parameters together."""
    difference = sum(float((found[name] - value).square().sum()) for name, value in expected.items())
    return float((difference / sum(float(value.square().sum()) for value in expected.values())) ** 0.5)


def compared(name: str, samples: int, batch_size: int, repetitions: int, fabric: Fabric) -> Comparison:
    """Measure one network."""
    device = fabric.device
    context, view = context_of(NETWORKS[name], fabric), made_images(4 * samples, device)
    few = view.narrowed(torch.arange(samples))
    model = with_statistics(context.initial_network(), few)
    plain = as_published(NETWORKS[name], model, fabric)
    images, _ = few.fetch(torch.arange(samples))

    def fast(over: DataView, labels: str) -> dict[str, Tensor]:
        return fisher_diagonal(model, over, context, labels=labels, batch_size=batch_size, fallback=False)

    works = {
        "loop": lambda: fisher_batch_1(plain, images),
        "exact": lambda: fast(few, "exact"),
        "mc": lambda: fast(few, "mc"),
    }
    memory, results = PeakMemory(device), dict[str, dict[str, Tensor]]()
    fast(few, "exact"), fast(few, "mc"), fisher_batch_1(plain, images[:1])
    peaks = []
    for over in (few, view):
        memory.reset()
        fast(over, "exact")
        peaks.append(memory.read())
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(repetitions):
        for who, work in works.items():
            taken, results[who] = timed(work, device)
            seconds[who].append(taken / samples)
    error = relative_error(results["exact"], results["loop"])
    return Comparison(name, samples, seconds["loop"], seconds["exact"], seconds["mc"], error, *peaks)


def show(results: list[Comparison], title: str) -> None:
    """Print the table."""
    headings = (
        "network",
        "loop s/sample",
        "exact s/sample",
        "speed-up",
        "mc s/sample",
        "error",
        "peak MB",
        "of 4x samples",
    )
    rows = [
        (
            result.network,
            mean_words(result.loop, ".4f"),
            mean_words(result.exact, ".4f"),
            mean_words([loop / exact for loop, exact in zip(result.loop, result.exact, strict=True)], ".1f"),
            mean_words(result.mc, ".4f"),
            f"{result.relative_error:.1e}",
            f"{result.peak_memory / 1e6:.0f}",
            f"{result.peak_memory_of_four_times / 1e6:.0f}",
        )
        for result in results
    ]
    print_table(title, headings, rows)


def main() -> None:
    """Measure and print; with --json also write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["resnet18"])
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    fabric = HardwareConfig(deterministic=False).start()
    results = [
        compared(name, options.samples, options.batch_size, options.repetitions, fabric) for name in options.networks
    ]
    device = device_words(fabric.device)
    show(results, f"Fisher diagonal, {CLASSES} classes, 3x32x32, {options.samples} samples, {device}")
    write_figures(options.json, fabric.device, results=[vars(result) for result in results])


if __name__ == "__main__":
    main()
