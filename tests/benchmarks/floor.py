"""How far each phase of UNSIR is from what its convolutions and matrix products alone would take. Run by `make bench`.

The same forgetting (`dataset=made_classes`, counts as in `unsir_times`) is done under three observers: a counter of the
floating-point operations of every step, forward and backward; a profiler; and hooks that note each call of a
convolution or a linear layer. The floor of a phase is the time of these calls alone: each layer runs by itself on a
tensor of the noted shape, forward and the gradients that the phase asks for, in the faster of both memory layouts.
Phase and floor are timed in turn in one process. `covered` is the share of the counted operations that the floor does.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks.measured import device_words, mean_words, print_table, timed, write_figures
from tests.benchmarks.unsir_times import BATCH, NETWORKS, PER_CLASS, Bench, share_of_published
from unsir_bench.runtime.clock import Stopwatch
from unsir_bench.runtime.hardware import HardwareConfig

LAYOUTS = (torch.contiguous_format, torch.channels_last)
MATRIX_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::matmul", "aten::linear")
SHOWN_OPERATORS = 3


@dataclass(frozen=True)
class Call:
    """A convolution's or linear layer's call: of which layer, on what shape, and which gradients it must give."""

    layer: str
    shape: tuple[int, ...]
    for_input: bool
    for_weights: bool


@dataclass
class Phase:
    """What is counted once of a phase; ``losses``: shares of the profiled time by operator, convolutions left out."""

    network: str
    phase: str
    steps: int
    flop: int
    covered: float
    losses: dict[str, float]


@dataclass
class Trial:
    """Seconds of a phase and of its floor, measured one after the other."""

    network: str
    repetition: int
    phase: str
    seconds: float
    floor: float


class WatchedPhases(Stopwatch):
    """A stopwatch under which ``observer`` sees each phase."""

    def __init__(self, device: torch.device, observer: Callable[[str], AbstractContextManager[object]]):
        super().__init__(device)
        self._observer = observer

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        with self._observer(name), super().phase(name):
            yield


def counted_operations(bench: Bench, original: nn.Module) -> dict[str, int]:
    """Floating-point operations of each phase; a multiplication and its addition are two."""
    counted: Counter[str] = Counter()

    @contextmanager
    def counting(name: str) -> Iterator[None]:
        with FlopCounterMode(display=False) as counter:
            yield
        counted[name] += counter.get_total_flops()

    bench.unlearned(copy.deepcopy(original), 0, WatchedPhases(bench.fabric.device, counting))
    return dict(counted)


def noted_calls(bench: Bench, original: nn.Module) -> tuple[dict[str, Counter[Call]], Counter[str]]:
    """Every call of a convolution or linear layer in each phase, and the phases' optimiser steps."""
    calls: dict[str, Counter[Call]] = defaultdict(Counter)
    model, now = copy.deepcopy(original), ""

    @contextmanager
    def entering(name: str) -> Iterator[None]:
        nonlocal now
        now = name
        yield

    def noting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            gradients = inputs[0].requires_grad, next(layer.parameters()).requires_grad
            calls[now][Call(name, tuple(inputs[0].shape), *gradients)] += 1

        return note

    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(noting(name))
    context = bench.unlearned(model, 0, WatchedPhases(bench.fabric.device, entering))
    return calls, context.steps


def largest_losses(bench: Bench, original: nn.Module) -> dict[str, dict[str, float]]:
    """By phase, the operators with the most time of their own besides convolutions and matrix products, as shares."""
    on_gpu = bench.fabric.device.type == "cuda"
    found: dict[str, dict[str, float]] = {}

    @contextmanager
    def profiling(name: str) -> Iterator[None]:
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
            yield
        operators = [each for each in profiler.key_averages() if each.device_type == DeviceType.CPU]
        own = {each.key: each.self_device_time_total if on_gpu else each.self_cpu_time_total for each in operators}
        other = {key: time for key, time in own.items() if "conv" not in key.lower() and key not in MATRIX_PRODUCTS}
        largest = sorted(other, key=lambda key: -other[key])[:SHOWN_OPERATORS]
        found[name] = {key: other[key] / sum(own.values()) for key in largest}

    bench.unlearned(copy.deepcopy(original), 0, WatchedPhases(bench.fabric.device, profiling))
    return found


def standalone(layer: nn.Module, call: Call, layout: torch.memory_format, device: torch.device) -> Callable[[], object]:
    """The work of one call, alone: forward, and the gradients that it must give."""
    twin = copy.deepcopy(layer).requires_grad_(call.for_weights).to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(call.shape, device=device)
    if images.ndim == 4:
        images = images.contiguous(memory_format=layout)
    images.requires_grad_(call.for_input)
    wanted = [each for each in (images, *twin.parameters()) if each.requires_grad]
    gradient = torch.randn_like(twin(images).detach())

    def work() -> None:
        for each in wanted:
            each.grad = None
        twin(images).backward(gradient)

    return work


def operations(original: nn.Module, calls: Counter[Call], device: torch.device) -> int:
    """Floating-point operations of calls that are made standalone."""
    total = 0
    for call, count in calls.items():
        work = standalone(original.get_submodule(call.layer), call, torch.contiguous_format, device)
        with FlopCounterMode(display=False) as counter:
            work()
        total += count * counter.get_total_flops()
    return total


def fastest(layer: nn.Module, call: Call, runs: int, device: torch.device) -> float:
    """Seconds of one call in the faster layout: the median of several runs after a warm-up."""
    medians = []
    for layout in LAYOUTS if len(call.shape) == 4 else LAYOUTS[:1]:
        work = standalone(layer, call, layout, device)
        work()
        medians.append(statistics.median(timed(work, device)[0] for _ in range(runs)))
    return min(medians)


def measured(name: str, bench: Bench, repetitions: int, runs: int) -> tuple[list[Phase], list[Trial]]:
    """Count the phases of one network, then time them and their floors in turn."""
    device = bench.fabric.device
    original = bench.untrained()
    calls, steps = noted_calls(bench, original)
    flop, losses = counted_operations(bench, original), largest_losses(bench, original)
    phases = [
        Phase(name, phase, steps[phase], flop[phase], operations(original, made, device) / flop[phase], losses[phase])
        for phase, made in calls.items()
    ]
    trials = []
    for repetition in range(repetitions):
        seconds = bench.unlearned(copy.deepcopy(original), 0).clock.phases
        every = {call for made in calls.values() for call in made}
        alone = {call: fastest(original.get_submodule(call.layer), call, runs, device) for call in every}
        for phase, made in calls.items():
            floor = sum(count * alone[call] for call, count in made.items())
            trials.append(Trial(name, repetition, phase, seconds[phase], floor))
    return phases, trials


def show(phases: list[Phase], trials: list[Trial], title: str) -> None:
    """Print the table: mean and 95 % interval over repetitions; ratios repetition by repetition."""
    rows = []
    for phase in phases:
        own = [each for each in trials if (each.network, each.phase) == (phase.network, phase.phase)]
        gflop = phase.flop / 1e9
        measurements = (
            [each.seconds for each in own],
            [each.floor for each in own],
            [each.seconds / each.floor for each in own],
        )
        rates = ([gflop / each.seconds for each in own], [gflop / each.floor for each in own])
        rows.append(
            (
                f"{phase.network}, {phase.phase}",
                str(phase.steps),
                f"{gflop:.1f}",
                *map(mean_words, measurements),
                *(mean_words(rate, ".1f") for rate in rates),
                f"{100 * phase.covered:.1f}",
                ", ".join(
                    f"{operator.removeprefix('aten::')} {100 * share:.0f} %" for operator, share in phase.losses.items()
                ),
            )
        )
    headings = ("network, phase", "steps", "GFLOP", "s", "floor s", "s / floor", "GFLOP/s", "of floor", "covered %")
    print_table(title, (*headings, "largest other operators"), rows, width=190)


def main() -> None:
    """Measure and print; with --json also write every trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["resnet18 slim"])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3, help="of each layer alone, whose median counts")
    parser.add_argument("--per-class", type=int, default=PER_CLASS, help="training images of each class")
    parser.add_argument("--batch-size", type=int, default=BATCH, help="of noise, impair and repair")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: as the suite chooses)")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    hardware = HardwareConfig(deterministic=False, threads=options.threads)
    fabric = hardware.start()
    phases: list[Phase] = []
    trials: list[Trial] = []
    for name in options.networks:
        bench = Bench.of(NETWORKS[name], fabric, hardware, per_class=options.per_class)
        bench = replace(bench, method=share_of_published(batch_size=options.batch_size))
        counted, timings = measured(name, bench, options.repetitions, options.runs)
        phases, trials = phases + counted, trials + timings
    show(phases, trials, f"UNSIR and its floor, class 0 of 10, 3x32x32, {device_words(fabric.device)}")
    write_figures(
        options.json,
        fabric.device,
        phases=[asdict(each) for each in phases],
        trials=[asdict(each) for each in trials],
    )


if __name__ == "__main__":
    main()
