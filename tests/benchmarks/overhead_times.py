"""What the suite takes beside its computations. Run by `make bench`.

- start: help, a mistake on the command line, and the imports of a full start, as commands of their own.
- job: two sweeps of UNSIR on digits, one that trains its models and one that finds them in the store. A job takes from
  one record's writing to the next's (the record's own times are whole seconds); what is neither training nor
  unlearning nor the computing of metrics is the rest. Inference for the metrics is part of it, as of no field.
- folder: made images as JPEG and PNG files, decoded once and then opened from the cache. Each load is in a process of
  its own, its imports outside the clock; the files were just written, so the system has them in memory.
- inference: the pass that all metrics share, with features, against bare forward passes on batches that are there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from tests.benchmarks.measured import device_words, mean_words, print_table, timed, write_figures
from tests.benchmarks.unsir_times import Bench
from unsir_bench.data.folders import ImageFolder
from unsir_bench.data.made_classes import MadeClasses
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.models.torchvision_models import ResNet18
from unsir_bench.records import RunRecord, records_below
from unsir_bench.references.store import Store
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.runtime.progress import Progress
from unsir_bench.training.inference import EVALUATION_BATCH, outputs

CLASSES = 10
NETWORKS: dict[str, ModelConfig] = {"resnet18 slim": ResNet18(stem="cifar", width=16), "allcnn": AllCNNConfig()}
SUITE = (sys.executable, "-m", "unsir_bench")
# The command, and whether it ends well.
STARTS: dict[str, tuple[tuple[str, ...], bool]] = {
    "python alone": ((sys.executable, "-c", "pass"), True),
    "unsir-bench --help": ((*SUITE, "--help"), True),
    "unsir-bench model=alcnn (a typo)": ((*SUITE, "model=alcnn"), False),
    "imports of a full start": (
        (sys.executable, "-c", "import unsir_bench.cli.run as run; run.bootstrap()"),
        True,
    ),
}


@dataclass
class Start:
    """One command, from its start to its end."""

    command: str
    wall_seconds: float
    cpu_seconds: float


@dataclass
class Job:
    """One run of a sweep, in seconds; ``whole`` counts from the record before, ``recorded`` is finished - started."""

    store: str
    seed: int
    whole: float
    recorded: float
    training: float
    unlearning: float
    evaluation: float

    @property
    def rest(self) -> float:
        """What is neither training nor unlearning nor the computing of metrics."""
        return self.whole - self.training - self.unlearning - self.evaluation


@dataclass
class Sweep:
    """A command that does several runs; seconds from its start to the first record, and from the last to its end."""

    store: str
    wall_seconds: float
    to_first_record: float
    after_last_record: float


@dataclass
class Load:
    """One load of the image folder; ``fingerprint`` is of every pixel and label."""

    how: str
    images: int
    seconds: float
    fingerprint: str


@dataclass
class Pass:
    """One evaluation and one bare inference of the same network and samples."""

    network: str
    repetition: int
    evaluation: float
    bare: float
    largest_difference: float


def ended(command: Sequence[str], *, well: bool) -> None:
    """Run a command that must end well, or must not.

    Raises:
        RuntimeError: it ended otherwise.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if (done.returncode == 0) != well:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")


def children_cpu_seconds() -> float:
    """Of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def starts(repetitions: int) -> Iterator[Start]:
    """Each command in turn, after a first round that writes and reads every cache."""
    for repetition in range(-1, repetitions):
        for name, (command, well) in STARTS.items():
            cpu, wall = children_cpu_seconds(), time.perf_counter()
            ended(command, well=well)
            start = Start(name, time.perf_counter() - wall, children_cpu_seconds() - cpu)
            if repetition >= 0:
                yield start


def sweeps(jobs: int, overrides: Sequence[str]) -> tuple[list[Sweep], list[Job]]:
    """The same sweep with an empty store and with a filled one; the first run of each has no record before it."""
    done: list[Sweep] = []
    runs: list[Job] = []
    with tempfile.TemporaryDirectory() as folder:
        for store in ("empty", "filled"):
            seeds = ",".join(map(str, range(jobs + 1)))
            command = [*SUITE, "-m", "method=unsir", "dataset=digits", "metrics=fast", "tracker=none", f"seed={seeds}"]
            places = [f"outputs={folder}", f"store.root={folder}/store", f"sweep={store}"]
            started = time.time()
            ended([*command, *places, *overrides], well=True)
            finished = time.time()
            records = sorted(records_below(Path(folder) / store), key=lambda each: each[0].stat().st_mtime)
            written = [path.stat().st_mtime for path, _ in records]
            done.append(Sweep(store, finished - started, written[0] - started, finished - written[-1]))
            for place, (_, record) in enumerate(records[1:], start=1):
                runs.append(job(store, record, written[place] - written[place - 1], Store(Path(folder) / "store")))
    return done, runs


def job(store: str, record: RunRecord, whole: float, models: Store) -> Job:
    """The parts of a run's time; with an empty store it trained both models itself."""
    trained = [record.fingerprints[role] for role in ("original", "retrain")] if store == "empty" else []
    entries = [models.find(key) for key in trained if key is not None]
    training = sum(float(entry.manifest["seconds"]) for entry in entries if entry is not None)
    recorded = datetime.fromisoformat(record.finished) - datetime.fromisoformat(record.started)
    seconds = {name: float(record.metrics[f"{name}_seconds"] or 0) for name in ("unlearn", "evaluation")}
    return Job(store, record.seed, whole, recorded.total_seconds(), training, seconds["unlearn"], seconds["evaluation"])


def write_images(root: Path, count: int) -> None:
    """``root/<class>/*``, JPEG and PNG in turn."""
    made = MadeClasses(classes=CLASSES, train_per_class=count // CLASSES, test_per_class=1)
    images = made.read(Progress(interactive=False)).train
    for place, (pixels, label) in enumerate(zip(images.images, images.labels.tolist(), strict=True)):
        folder = root / made.class_names()[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{place:06}.{'png' if place % 2 else 'jpg'}")


def load_folder(root: str) -> tuple[float, int, str]:
    """Seconds of a load, in a process that has loaded nothing yet; images and their fingerprint."""
    config = ImageFolder(root=root)
    started = time.perf_counter()
    data = config.load(Progress(interactive=False))
    return time.perf_counter() - started, len(data.train) + len(data.test), data.fingerprint


def loads(images: int, repetitions: int) -> Iterator[Load]:
    """Decode once, then open the cache several times."""
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), images)
        processes = multiprocessing.get_context("spawn")
        with processes.Pool(1, maxtasksperchild=1) as pool:
            for repetition in range(repetitions + 1):
                seconds, count, fingerprint = pool.apply(load_folder, (folder,))
                yield Load("from the cache" if repetition else "decoded", count, seconds, fingerprint)


def passes(name: str, samples: int, repetitions: int, hardware: HardwareConfig) -> Iterator[Pass]:
    """Evaluation and bare inference by turns, after a warm-up on one batch."""
    fabric = hardware.start()
    bench = Bench.of(NETWORKS[name], fabric, hardware, per_class=samples // CLASSES)
    view, context = bench.data.view("train"), bench.context(0)
    model = context.initial_network().eval()
    batches = [images for images, _ in view.batches(EVALUATION_BATCH)]
    outputs(model, view.narrowed(torch.arange(min(EVALUATION_BATCH, len(view)))), context, "warm-up")
    bare_logits(model, batches[:1])
    work: dict[str, Callable[[], Tensor]] = {
        "evaluation": lambda: outputs(model, view, context, "evaluation").logits,
        "bare": lambda: bare_logits(model, batches).cpu(),
    }
    for repetition in range(repetitions):
        done = {who: timed(work[who], fabric.device) for who in list(work)[:: -1 if repetition % 2 else 1]}
        (evaluation, found), (bare, expected) = done["evaluation"], done["bare"]
        yield Pass(name, repetition, evaluation, bare, float((found - expected).abs().max()))


@torch.no_grad()
def bare_logits(model: nn.Module, batches: Sequence[Tensor]) -> Tensor:
    """Forward passes and nothing else."""
    return torch.cat([model(images) for images in batches])


def show_starts(done: list[Start]) -> None:
    """Print the table: mean and 95 % interval over repetitions."""
    own = {name: [each for each in done if each.command == name] for name in STARTS}
    rows = [
        (name, mean_words([each.wall_seconds for each in mine]), mean_words([each.cpu_seconds for each in mine]))
        for name, mine in own.items()
    ]
    print_table("Starts", ("command", "wall s", "CPU s"), rows)


def show_jobs(done: list[Sweep], runs: list[Job]) -> None:
    """Print the table: mean and 95 % interval over jobs."""
    rows = []
    for sweep in done:
        own = [each for each in runs if each.store == sweep.store]
        parts = [
            [getattr(each, part) for each in own]
            for part in ("whole", "training", "unlearning", "evaluation", "rest", "recorded")
        ]
        ends = (f"{sweep.to_first_record:.2f}", f"{sweep.after_last_record:.2f}")
        rows.append((sweep.store, str(len(own)), *map(mean_words, parts), *ends))
    parts = ("whole s", "training s", "unlearning s", "metrics s", "rest s", "by the record s")
    print_table("A job on digits", ("store", "jobs", *parts, "to the first record s", "after the last s"), rows)


def show_loads(done: list[Load]) -> None:
    """Print the table: one decoding; mean and 95 % interval over openings of the cache."""
    rows = []
    for how in dict.fromkeys(each.how for each in done):
        seconds = [each.seconds for each in done if each.how == how]
        ratio = mean_words([done[0].seconds / each for each in seconds], ".1f")
        rows.append((how, str(len(seconds)), mean_words(seconds, ".3f"), ratio))
    same = "alike" if len({each.fingerprint for each in done}) == 1 else "NOT ALIKE"
    title = f"{done[0].images} image files of 32x32, half JPEG, half PNG; all loads are {same}"
    print_table(title, ("load", "n", "s", "decoding / load"), rows)


def show_passes(done: list[Pass], samples: int, device: torch.device) -> None:
    """Print the table: mean and 95 % interval over repetitions; ratios repetition by repetition."""
    rows = []
    for name in dict.fromkeys(each.network for each in done):
        own = [each for each in done if each.network == name]
        evaluation, bare = [each.evaluation for each in own], [each.bare for each in own]
        ratios = mean_words([each.evaluation / each.bare for each in own], ".3f")
        difference = f"{max(each.largest_difference for each in own):.1e}"
        rows.append((name, mean_words(evaluation), mean_words(bare), ratios, difference))
    title = f"Evaluation of {samples} samples, 3x32x32, {device_words(device)}"
    print_table(title, ("network", "evaluation s", "bare s", "ratio", "largest difference of a logit"), rows)


def measure(options: argparse.Namespace, hardware: HardwareConfig) -> dict[str, Any]:
    """Measure and show each part; returns every trial by part."""
    figures: dict[str, Any] = {}
    if "start" in options.parts:
        figures["starts"] = list(starts(options.repetitions))
        show_starts(figures["starts"])
    if "job" in options.parts:
        figures["sweeps"], figures["jobs"] = sweeps(options.jobs, options.overrides)
        show_jobs(figures["sweeps"], figures["jobs"])
    if "folder" in options.parts:
        figures["loads"] = list(loads(options.images, options.repetitions))
        show_loads(figures["loads"])
    if "inference" in options.parts:
        figures["passes"] = [
            each for name in options.networks for each in passes(name, options.samples, options.repetitions, hardware)
        ]
        show_passes(figures["passes"], options.samples, hardware.start().device)
    return figures


def main() -> None:
    """Measure and print; with --json also write every trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("start", "job", "folder", "inference")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--repetitions", type=int, default=5, help="of commands, openings of the cache and passes")
    parser.add_argument("--jobs", type=int, default=5, help="runs of each sweep, besides its first")
    parser.add_argument("--overrides", nargs="*", default=[], help="of each sweep, such as train.epochs=1")
    parser.add_argument("--images", type=int, default=60_000, help="files of the folder, 100 or more")
    parser.add_argument("--samples", type=int, default=10_000, help="that are evaluated")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="that are evaluated")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: as the suite chooses)")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    hardware = HardwareConfig(deterministic=False, threads=options.threads)
    device = hardware.start().device
    figures = measure(options, hardware)
    write_figures(options.json, device, **{part: [asdict(each) for each in done] for part, done in figures.items()})


if __name__ == "__main__":
    main()
