"""Seconds of UNSIR beside those of the same steps written plainly, and what both leave of accuracy.

Run by `make bench`. All forget class 0 of the same trained network with the same retain images, noise steps, copies
and epochs, one after the other in one process, in turn which is first; ours at each precision asked for. The images are
made (`dataset=made_classes`), so accuracies only say whether all do the same work. Counts are some tenths of the
published ones, in the same proportions.
"""

from __future__ import annotations

import argparse
import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tests.benchmarks.fisher_times import as_published, with_statistics
from tests.benchmarks.measured import device_words, mean_words, print_table, timed, write_figures
from tests.oracles.unsir_step_by_step import UnsirStepByStep
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.data.made_classes import MadeClasses
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.models.torchvision_models import ResNet18
from unsir_bench.runtime.clock import Stopwatch
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.runtime.malloc import keep_freed_memory
from unsir_bench.runtime.progress import Progress
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import fit
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData
from unsir_bench.unlearning.unsir import NoiseConfig, Unsir

NETWORKS: dict[str, ModelConfig] = {
    "resnet18 imagenet stem": ResNet18(),
    "resnet18 slim": ResNet18(stem="cifar", width=16),
    "allcnn": AllCNNConfig(),
}
CLASSES, PER_CLASS, NOISE_STEPS, COPIES, BATCH = 10, 100, 4, 2, 256
ORIGINAL = Recipe(name="original", batch_size=64, optimizer="adam", lr=0.002)
SHOWN_TO_ORIGINAL = 4000  # images, in whole epochs
PLAIN_PRECISION = "32-true"
HEADINGS = ("network, who, precision", "s", "plain / this", "A_Df %", "less plain's", "A_Dr %", "less plain's")
IMPAIR_LR, REPAIR_LR = 0.005, 0.001  # at the published rates so few steps leave every network at chance


@dataclass
class Trial:
    """One forgetting, by ours at a precision or by the plain form; accuracies as fractions of test samples."""

    network: str
    seed: int
    who: str
    precision: str
    seconds: float
    acc_forget: float
    acc_retain: float
    phases: dict[str, float]


def share_of_published(tenths: int = 1, batch_size: int = BATCH) -> Unsir:
    """UNSIR with some tenths of the published counts, in the same proportions."""
    return Unsir(
        noise=NoiseConfig(batch_size=batch_size, steps=tenths * NOISE_STEPS, copies=tenths * COPIES),
        retain_per_class=tenths * PER_CLASS,
        impair=Recipe(name="impair", lr=IMPAIR_LR, batch_size=batch_size),
        repair=Recipe(name="repair", lr=REPAIR_LR, batch_size=batch_size),
    )


@dataclass(frozen=True)
class Bench:
    """Made images, of which some classes, class 0 at first, are to be forgotten by networks of one architecture."""

    architecture: ModelConfig
    fabric: Fabric
    data: DeviceData
    split: ForgetSplit
    method: Unsir = field(default_factory=share_of_published)

    @classmethod
    def of(
        cls,
        architecture: ModelConfig,
        fabric: Fabric,
        hardware: HardwareConfig,
        *,
        classes: int = CLASSES,
        per_class: int = PER_CLASS,
    ) -> Bench:
        """Load the images in the layout that suits the network."""
        config = MadeClasses(classes=classes, train_per_class=per_class, test_per_class=50)
        images = config.load(Progress(interactive=False))
        data = DeviceData(images, config, hardware, fabric.device, architecture.channels_last)
        return cls(architecture, fabric, data, ForgetSplit.of(data.labels("train"), data.labels("test"), (0,), classes))

    def forgetting(self, classes: Sequence[int]) -> Bench:
        """The same with other classes to forget."""
        labels = self.data.labels("train"), self.data.labels("test")
        return replace(self, split=ForgetSplit.of(*labels, tuple(classes), self.data.num_classes))

    def context(self, seed: int) -> RunContext:
        """The surroundings of a run."""
        return RunContext(
            fabric=self.fabric,
            seed=seed,
            architecture=self.architecture,
            image_shape=self.data.image_shape,
            num_classes=self.data.num_classes,
            forget_classes=self.split.classes,
            progress=Progress(interactive=False),
            log=lambda *point: None,
            channels_last=self.architecture.channels_last,
        )

    def untrained(self) -> nn.Module:
        """A network that costs what a trained one does: initial weights, batch-norm statistics of some images."""
        chosen = torch.randperm(len(self.data.labels("train")), generator=torch.Generator().manual_seed(0))[:64]
        return with_statistics(self.context(0).initial_network(), self.data.view("train").narrowed(chosen))

    def original(self, seed: int) -> nn.Module:
        """A network that knows all classes."""
        context, view = self.context(seed), self.data.view("train")
        recipe = replace(ORIGINAL, epochs=max(1, SHOWN_TO_ORIGINAL // len(view)))
        model = context.initial_network()
        fit(model, EpochBatches.from_view(view, recipe, context, "train"), recipe, context, "original")
        return model.eval()

    def unlearned(self, model: nn.Module, seed: int, clock: Stopwatch | None = None) -> RunContext:
        """Forget as the suite does; returns the context with its steps and seconds, taken by ``clock`` where given."""
        context = self.context(seed)
        context.clock = clock or context.clock
        with context.clock.running():
            self.method.unlearn(model, UnlearningData(self.data, self.split, self.method, seed), context)
        return context

    def ours(self, model: nn.Module, seed: int) -> dict[str, float]:
        """UNSIR as the suite runs it; returns seconds by phase."""
        return dict(self.unlearned(model, seed).clock.phases)

    def plain(self, model: nn.Module, seed: int) -> dict[str, float]:
        """The same, step by step, from its own copies of the samples."""
        torch.manual_seed(seed)
        method = self.method
        subset = self.split.retain_train[: method.retain_per_class * (self.data.num_classes - 1)]
        view = self.data.view("train", subset)
        images, labels = view.fetch(torch.arange(len(view)))
        retain = list(zip(images.contiguous(), labels.tolist(), strict=True))
        twin = UnsirStepByStep(
            batch_size=method.noise.batch_size,
            noise_steps=method.noise.steps,
            copies=method.noise.copies,
            impair_lr=method.impair.lr,
            repair_lr=method.repair.lr,
        )
        twin.unlearn(model, retain, (0,))
        return {}

    def work(self, who: str, model: nn.Module, seed: int) -> dict[str, float]:
        """Forget as ``who`` does; returns seconds by phase where they are known."""
        return self.ours(model, seed) if who == "ours" else self.plain(model, seed)

    @property
    def shortened(self) -> Bench:
        """The same with a few steps of each phase."""
        method = self.method
        noise = replace(method.noise, steps=1, copies=1)
        a_batch = method.noise.batch_size // (self.data.num_classes - 1) + 1
        return replace(self, method=replace(method, noise=noise, retain_per_class=a_batch))

    def accuracy(self, model: nn.Module, indices: Tensor) -> float:
        """The share of test samples that are taken for what they are."""
        view = self.data.view("test", indices)
        with torch.no_grad():
            found = [(model(images).argmax(1) == labels).float() for images, labels in view.batches(256)]
        return float(torch.cat(found).mean())

    def trial(self, name: str, who: str, original: nn.Module, seed: int) -> Trial:
        """Forget once, on the clock, in a process that has been doing the like: its memory is at hand."""
        model = copy.deepcopy(original) if who == "ours" else as_published(self.architecture, original, self.fabric)
        keep_freed_memory(who == "ours")  # else as any program has it
        self.shortened.work(who, copy.deepcopy(model), seed)
        seconds, phases = timed(lambda: self.work(who, model, seed), self.fabric.device)
        model.eval()
        accuracies = [self.accuracy(model, self.split.indices[f"{kind}_test"]) for kind in ("forget", "retain")]
        return Trial(name, seed, who, str(self.fabric.strategy.precision.precision), seconds, *accuracies, phases)


def trials(name: str, seeds: int, tenths: int, precisions: Sequence[str], hardware: HardwareConfig) -> list[Trial]:
    """Ours at each precision and the plain form on each seed's network; another is the first at each seed."""
    plain = Bench.of(NETWORKS[name], hardware.start(), hardware, per_class=tenths * PER_CLASS)
    plain = replace(plain, method=share_of_published(tenths))
    sides = [("ours", replace(plain, fabric=replace(hardware, precision=each).start())) for each in precisions]
    sides.append(("plain", plain))
    done = []
    for seed in range(seeds):
        original = plain.original(seed)
        first = seed % len(sides)
        for who, bench in sides[first:] + sides[:first]:
            done.append(bench.trial(name, who, original, seed))
            print(done[-1], flush=True)
    return done


def show(done: list[Trial], title: str) -> None:
    """Print the table: mean and 95 % interval over seeds; ratios, and differences of accuracies, seed by seed."""
    sides: dict[tuple[str, str, str], list[Trial]] = defaultdict(list)
    for trial in sorted(done, key=lambda each: each.seed):
        sides[trial.network, trial.who, trial.precision].append(trial)
    rows = []
    for (network, who, precision), side in sides.items():
        plain = sides[network, "plain", PLAIN_PRECISION]
        pairs = list(zip(plain, side, strict=True))
        figures = (
            mean_words([each.seconds for each in side]),
            mean_words([slow.seconds / each.seconds for slow, each in pairs]),
            mean_words([100 * each.acc_forget for each in side], ".1f"),
            mean_words([100 * (each.acc_forget - slow.acc_forget) for slow, each in pairs], "+.1f"),
            mean_words([100 * each.acc_retain for each in side], ".1f"),
            mean_words([100 * (each.acc_retain - slow.acc_retain) for slow, each in pairs], "+.1f"),
        )
        rows.append((f"{network}, {who}, {precision}", *figures))
    print_table(title, HEADINGS, rows)


def main() -> None:
    """Measure and print; with --json also write every trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: as the suite chooses)")
    parser.add_argument("--tenths", type=int, default=1, help="of the published counts; 10 for all of them")
    parser.add_argument("--precisions", nargs="+", default=[PLAIN_PRECISION], help="of ours")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    hardware = HardwareConfig(deterministic=False, threads=options.threads, precision=PLAIN_PRECISION)
    done = [
        trial
        for name in options.networks
        for trial in trials(name, options.seeds, options.tenths, options.precisions, hardware)
    ]
    device = hardware.start().device
    work = f"{(CLASSES - 1) * PER_CLASS * options.tenths} retain images, batch {BATCH}"
    show(done, f"UNSIR, class 0 of {CLASSES}, 3x32x32, {work}, {device_words(device)}")
    write_figures(options.json, device, tenths=options.tenths, trials=[asdict(trial) for trial in done])


if __name__ == "__main__":
    main()
