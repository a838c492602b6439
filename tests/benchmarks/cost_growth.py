"""How cost grows: UNSIR's with classes to forget, Fisher's with samples and classes, a sweep's with methods and seeds.

UNSIR forgets 1, 2, 4, 7 of 10 and 1, 20, 40 of 100 made classes (counts as in `unsir_times`, a tenth of the published
ones): seconds and optimiser steps by phase. The exact Fisher diagonal is taken over n, 2n and 4n samples of 10 and of
100 classes. The network is a small one and untrained, with batch-norm statistics of the images: cost does not depend on
what it has learned. With --figure, seconds and steps are drawn against the number of forget classes, beside the paper's
claim: multi-class needs about as many update steps as single-class. A sweep is a command of its own, on digits with an
empty store: it trains two models a seed. Run by `make bench`.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from lightning_fabric import Fabric
from matplotlib.axes import Axes

from tests.benchmarks.measured import device_words, mean_words, print_table, timed, write_figures
from tests.benchmarks.overhead_times import SUITE, ended
from tests.benchmarks.unsir_times import BATCH, NETWORKS, Bench, share_of_published
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.report.figures.style import legend_below, new_figure, rendered, style
from unsir_bench.report.method_style import BLACK, BLUE, GREEN, GREY, VERMILION
from unsir_bench.report.statistics import mean_interval
from unsir_bench.runtime.files import write_atomic
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.unlearning.fisher.diagonal import fisher_diagonal

ARCHITECTURES: dict[str, ModelConfig] = {"allcnn slim": AllCNNConfig(width=16), **NETWORKS}
FORGET = {10: (1, 2, 4, 7), 100: (1, 20, 40)}
# Training images of each class: a tenth of what the retain subset takes of CIFAR-10 and of CIFAR-100.
PER_CLASS = {10: 100, 100: 50}
FACTORS = (1, 2, 4)  # of the fewest samples
SWEPT_METHODS = ("unsir", "finetune", "neggrad", "random_label")
SWEEPS = ((1, 1), (2, 1), (4, 1), (1, 2), (1, 4))  # methods, seeds
PHASES = {"noise": BLUE, "impair": VERMILION, "repair": GREEN, "total": BLACK}
CLAIM = "the paper: multi-class needs about as many update steps as single-class"


@dataclass
class Forgetting:
    """UNSIR on some of the classes: seconds and optimiser steps by phase, and in total."""

    classes: int
    forget: int
    repetition: int
    seconds: dict[str, float]
    steps: dict[str, int]


@dataclass
class Diagonal:
    """An exact Fisher diagonal."""

    classes: int
    samples: int
    repetition: int
    seconds: float


@dataclass
class Sweep:
    """A sweep of some methods and seeds; seconds from the command's start to its end."""

    methods: int
    seeds: int
    repetition: int
    seconds: float


def benches(
    architecture: ModelConfig, fabric: Fabric, hardware: HardwareConfig, per_class: int | None, batch_size: int
) -> dict[int, Bench]:
    """The made images of 10 and of 100 classes."""
    method = share_of_published(batch_size=batch_size)
    return {
        classes: replace(
            Bench.of(architecture, fabric, hardware, classes=classes, per_class=per_class or PER_CLASS[classes]),
            method=method,
        )
        for classes in FORGET
    }


def forgettings(bench: Bench, repetitions: int) -> Iterator[Forgetting]:
    """Every number of forget classes in turn, in each repetition; the first is done once before, as a warm-up."""
    classes, original = bench.data.num_classes, bench.untrained()
    bench.unlearned(copy.deepcopy(original), 0)
    for repetition in range(repetitions):
        for forget in FORGET[classes]:
            context = bench.forgetting(range(forget)).unlearned(copy.deepcopy(original), repetition)
            seconds = {**context.clock.phases, "total": context.clock.total}
            steps = {**context.steps, "total": context.steps.total()}
            yield Forgetting(classes, forget, repetition, seconds, steps)


def diagonals(bench: Bench, samples: int, repetitions: int) -> Iterator[Diagonal]:
    """Every number of samples in turn, in each repetition, after a warm-up on the fewest."""
    model, context, view = bench.untrained(), bench.context(0), bench.data.view("train")
    counts = [factor * samples for factor in FACTORS]

    def work(count: int) -> object:
        some = view.narrowed(torch.arange(count))
        return fisher_diagonal(model, some, context, labels="exact", batch_size=32, fallback=False)

    work(counts[0])
    for repetition in range(repetitions):
        for count in counts:
            seconds, _ = timed(lambda n=count: work(n), context.device)  # type: ignore[misc]
            yield Diagonal(bench.data.num_classes, count, repetition, seconds)


def sweeps(repetitions: int) -> Iterator[Sweep]:
    """Every size of sweep in turn, in each repetition, after a round of the smallest."""
    sizes = [SWEEPS[0], *SWEEPS * repetitions]
    for place, (methods, seeds) in enumerate(sizes):
        with tempfile.TemporaryDirectory() as folder:
            chosen = [f"method={','.join(SWEPT_METHODS[:methods])}", f"seed={','.join(map(str, range(seeds)))}"]
            places = [f"outputs={folder}", f"store.root={folder}/store"]
            started = time.perf_counter()
            ended([*SUITE, "-m", "dataset=digits", "metrics=fast", "tracker=none", *chosen, *places], well=True)
            seconds = time.perf_counter() - started
        if place:
            yield Sweep(methods, seeds, (place - 1) // len(SWEEPS), seconds)


def show_forgettings(done: list[Forgetting], title: str) -> None:
    """Print the table: mean and 95 % interval over repetitions; ratios repetition by repetition."""
    rows = []
    for classes, forget in dict.fromkeys((each.classes, each.forget) for each in done):
        own = [each for each in done if (each.classes, each.forget) == (classes, forget)]
        single = [each for each in done if (each.classes, each.forget) == (classes, 1)]
        seconds = [mean_words([each.seconds[phase] for each in own]) for phase in PHASES]
        ratios = [many.seconds["total"] / one.seconds["total"] for many, one in zip(own, single, strict=True)]
        steps, growth = own[0].steps, own[0].steps["total"] / single[0].steps["total"]
        counts = ", ".join(str(steps[phase]) for phase in PHASES)
        rows.append((f"{forget} of {classes}", *seconds, mean_words(ratios), counts, f"{growth:.2f}"))
    phases = [f"{phase} s" for phase in PHASES]
    headings = ("forget classes", *phases, "s / of one class", f"steps: {', '.join(PHASES)}", "steps / of one class")
    print_table(title, headings, rows, width=170)


def show_diagonals(done: list[Diagonal], title: str) -> None:
    """Print the table: mean and 95 % interval over repetitions; ratios repetition by repetition."""
    rows = []
    fewest = done[0].samples
    for classes, samples in dict.fromkeys((each.classes, each.samples) for each in done):
        own = [each.seconds for each in done if (each.classes, each.samples) == (classes, samples)]
        least = [each.seconds for each in done if (each.classes, each.samples) == (classes, fewest)]
        ratios = mean_words([many / few for many, few in zip(own, least, strict=True)])
        each_sample = mean_words([1000 * seconds / samples for seconds in own])
        rows.append((f"{classes}", str(samples), mean_words(own), each_sample, ratios))
    print_table(title, ("classes", "samples", "s", "ms/sample", "s / of fewest samples"), rows)


def show_sweeps(done: list[Sweep]) -> None:
    """Print the table: mean and 95 % interval over repetitions; ratios repetition by repetition."""
    rows = []
    single = [each.seconds for each in done if (each.methods, each.seeds) == SWEEPS[0]]
    for methods, seeds in SWEEPS:
        own = [each.seconds for each in done if (each.methods, each.seeds) == (methods, seeds)]
        ratios = mean_words([many / one for many, one in zip(own, single, strict=True)])
        rows.append((str(methods), str(seeds), str(methods * seeds), str(2 * seeds), mean_words(own), ratios))
    print_table("A sweep on digits", ("methods", "seeds", "runs", "trainings", "s", "s / of one run"), rows)


def draw(done: list[Forgetting], title: str, stem: Path) -> list[Path]:
    """Seconds above and steps below against the number of forget classes, a column for each number of classes."""
    sets = list(dict.fromkeys(each.classes for each in done))
    with style():
        figure = new_figure(4.4, title)
        grid = figure.subplots(2, len(sets), squeeze=False)
        for column, classes in enumerate(sets):
            own = [each for each in done if each.classes == classes]
            draw_growth(grid[0, column], own, "seconds")
            draw_growth(grid[1, column], own, "steps")
            single = next(each.steps["total"] for each in own if each.forget == 1)
            grid[1, column].axhline(single, color=GREY, linestyle="--", label=CLAIM)
            grid[1, column].set_xlabel(f"forget classes of {classes}")
        grid[0, 0].set_ylabel("seconds")
        grid[1, 0].set_ylabel("optimiser steps")
        legend_below(figure, *grid[1, 0].get_legend_handles_labels())
        files = {stem.with_name(f"{stem.name}.{kind}"): content for kind, content in rendered(figure).items()}
    for path, content in files.items():
        write_atomic(path, content)
    return list(files)


def draw_growth(panel: Axes, done: Sequence[Forgetting], quantity: str) -> None:
    """A line for each phase: means, with 95 % intervals where there are several repetitions."""
    counts = list(dict.fromkeys(each.forget for each in done))
    for (phase, color), marker in zip(PHASES.items(), "osD^", strict=True):
        values = [[getattr(each, quantity)[phase] for each in done if each.forget == count] for count in counts]
        halves = [mean_interval(each).half_width if len(each) > 1 else 0.0 for each in values]
        panel.errorbar(counts, list(map(mean, values)), yerr=halves, color=color, marker=marker, label=phase)
    panel.set_xticks(counts)
    panel.set_ylim(bottom=0)


def measure(options: argparse.Namespace, made: dict[int, Bench], where: str) -> dict[str, list[Any]]:
    """Measure and show each part; returns every trial by part."""
    found: dict[str, list[Any]] = {}
    times = options.repetitions
    if "unsir" in options.parts:
        found["unsir"] = [each for bench in made.values() for each in forgettings(bench, times)]
        show_forgettings(found["unsir"], f"UNSIR, {where}")
    if "fisher" in options.parts:
        found["fisher"] = [each for bench in made.values() for each in diagonals(bench, options.samples, times)]
        show_diagonals(found["fisher"], f"Exact Fisher diagonal, {where}")
    if "sweep" in options.parts:
        found["sweep"] = list(sweeps(times))
        show_sweeps(found["sweep"])
    return found


def main() -> None:
    """Measure and print; with --json also write every trial, with --figure draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=ARCHITECTURES, default="allcnn slim")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--per-class", type=int, help="training images of each class (default: 100 of 10, 50 of 100)")
    parser.add_argument("--batch-size", type=int, default=BATCH, help="of noise, impair and repair")
    parser.add_argument("--samples", type=int, default=64, help="the fewest of the Fisher diagonal")
    parts = ("unsir", "fisher", "sweep")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: as the suite chooses)")
    parser.add_argument("--figure", type=Path, metavar="STEM", help="path of a figure, without suffix: PDF and PNG")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    hardware = HardwareConfig(deterministic=False, threads=options.threads)
    fabric = hardware.start()
    made = benches(ARCHITECTURES[options.network], fabric, hardware, options.per_class, options.batch_size)
    images = min(len(bench.data.labels("train")) for bench in made.values())
    if max(FACTORS) * options.samples > images:
        parser.error(f"--samples {options.samples}: {max(FACTORS)} times as many are more than the {images} images")
    where = f"{options.network}, 3x32x32, {device_words(fabric.device)}"
    found = measure(options, made, where)
    if options.figure and "unsir" in found:
        title = f"Cost of UNSIR against the number of forget classes: made images, {where}, n = {options.repetitions}"
        for path in draw(found["unsir"], title, options.figure):
            print(path)
    figures = {part: [asdict(each) for each in done] for part, done in found.items()}
    write_figures(options.json, fabric.device, **figures)


if __name__ == "__main__":
    main()
