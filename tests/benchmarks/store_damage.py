"""Is damage to a store ever used? Flips bits and breaks files of every kind, starts runs, and looks at what they give.

    python -m tests.benchmarks.store_damage [--flips 200] [--damages 60] [--seed 0] [FOLDER]

A small folder of images is trained on. The store then holds an original, a retrained model, features and scores of
both, a training log, a precomputation, and the checkpoint of an interrupted training; beside the images lies the
decoded cache. Each attack damages one file of these, and the run that reads the file is started, once. The damage was
used silently if the run's results or a hash of its models differ from those before, or if nothing was set aside. It is
healed if after this start the file is there again, every entry of the store is whole, and the models in it are the same
to the bit.

Exit status 1 if anything was used or is not healed.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from tests.benchmarks.measured import print_table
from tests.damage import flipped, structural
from tests.stored import with_weights
from tests.sweep_records import comparable, records
from unsir_bench import compose, run
from unsir_bench.cli.bootstrap import bootstrap
from unsir_bench.config import Config
from unsir_bench.data import dataset
from unsir_bench.data.image_cache import CACHE_FOLDER
from unsir_bench.references.checkpoint import TrainingCheckpoint
from unsir_bench.references.store import Entry, Store

OVERRIDES = [
    "dataset=image_folder", "dataset.batch_size=8", "model=allcnn_tiny", "train=smoke", "train.epochs=2",
    "train.batch_size=8", "forget.classes=[0]", "hardware=cpu", "hardware.threads=1", "tracker=none", "sweep=attacked",
]  # fmt: skip
SCORED = ["metrics=standard_smoke", "metrics.features=true", "metrics.floor=false"]
# By the name of what it reads, beside the models and the images.
RUNS = {
    "models": ["method=logit_mask", "metrics=fast"],
    "scores": ["method=logit_mask", *SCORED],
    "log": ["method=amnesiac_subtract", "metrics=fast"],
    "precomputation": ["method=ssd", "metrics=fast"],
}


@dataclass(frozen=True)
class Target:
    """A file to damage; ``run`` reads it, if ``absent`` entries are removed first."""

    kind: str
    folder: Path
    name: str
    run: str
    absent: tuple[Path, ...] = ()

    @property
    def path(self) -> Path:
        return self.folder / self.name


class Attacked:
    """A store, the images that its models were trained on, and what its runs must give."""

    def __init__(self, folder: Path):
        self.outputs, self.images = folder / "outputs", folder / "images"
        self.store = Store(folder / "store")
        _draw_images(self.images)
        common = [*OVERRIDES, f"dataset.root={self.images}", f"outputs={self.outputs}", f"store.root={self.store.root}"]
        self.configs: dict[str, Config] = {name: compose([*common, *words]) for name, words in RUNS.items()}
        self.right = {name: self.start(name) for name in RUNS}
        if wrong := [name for name, (_, status) in self.right.items() if status != "done"]:
            raise RuntimeError(f"the runs {wrong} are not done even without damage")
        self.models = self.hashes()
        self.checkpoint = self._interrupted()
        self.targets = list(self._found())

    def start(self, name: str) -> tuple[dict[str, object], str]:
        """All results of a run but its times; it starts with nothing in memory and no record."""
        dataset._LAST_LOADED.clear()
        shutil.rmtree(self.outputs, ignore_errors=True)
        record = run(self.configs[name])
        return comparable(records(self.outputs)), record.status

    def hashes(self) -> dict[str, Any]:
        """Of every file of tensors, by the key of its entry."""
        return {entry.folder.name: entry.hashes for entry in self.store.entries()}

    def set_aside(self) -> int:
        return sum(len(list(place.glob("damaged/*"))) for place in (self.store.root, self.images / CACHE_FOLDER))

    def whole(self) -> bool:
        """Every entry is, and every model that the runs had before the attacks is the same to the bit."""
        for folder in self.store.folders():
            Entry.opened(folder).verify()
        now = self.hashes()
        return all(now.get(key, files) == files for key, files in self.models.items()) and not self.store.checkpoints()

    def _interrupted(self) -> bytes:
        """The checkpoint that the original's training leaves when it is killed after its first epoch."""
        key = self._entries("original")[0].folder.name
        whole = self.store.root / "aside"
        (self.store.root / "entries" / key).rename(whole)
        save = TrainingCheckpoint.save

        def killed(checkpoint: TrainingCheckpoint, state: dict[str, Any]) -> None:
            save(checkpoint, state)
            raise KeyboardInterrupt

        with mock.patch.object(TrainingCheckpoint, "save", killed), suppress(KeyboardInterrupt):
            self.start("models")
        whole.rename(self.store.root / "entries" / key)
        path = self.store.root / "in_progress" / f"{key}.pt"
        content = path.read_bytes()
        path.unlink()
        return content

    def _entries(self, kind: str) -> list[Entry]:
        return [entry for entry in self.store.entries() if kind_of(entry) == kind]

    def _found(self) -> Iterator[Target]:
        scores = tuple(entry.folder for entry in self._entries("scores"))
        for entry in self.store.entries():
            kind = kind_of(entry)
            reader = {"original": "models", "retrain": "models", "features": "scores"}.get(kind, kind)
            if kind == "unlearned":
                [reader] = [name for name, config in self.configs.items() if config.run_id == entry.manifest["run"]]
            for path in sorted(entry.folder.iterdir()):
                yield Target(kind, entry.folder, path.name, reader, scores if kind == "features" else ())
        original = self._entries("original")[0].folder
        yield Target("checkpoint", self.store.root / "in_progress", f"{original.name}.pt", "models", (original,))
        (cache,) = (path for path in (self.images / CACHE_FOLDER).iterdir() if path.is_dir())
        for path in sorted(cache.iterdir()):
            yield Target("decoded cache", cache, path.name, "models")

    def prepare(self, target: Target) -> None:
        """Bring about that the target is there, and that the run reads it."""
        for folder in target.absent:
            shutil.rmtree(folder, ignore_errors=True)
        if target.kind == "checkpoint":
            target.path.write_bytes(self.checkpoint)

    def verdict(self, target: Target, damage: Callable[[Target], object]) -> tuple[bool, bool]:
        """Damage the target and start the run; whether the damage was used silently, and whether it is healed."""
        self.prepare(target)
        before = self.set_aside()
        damage(target)
        used = self.start(target.run) != self.right[target.run] or self.set_aside() == before
        for path in self.store.root.rglob("elsewhere-*"):  # what a planted link led to
            path.unlink()
        return used, self.whole() and (target.kind == "checkpoint" or target.path.is_file())


def kind_of(entry: Entry) -> str:
    """What an entry is: original, retrain, features, scores, log, precomputation or unlearned (weights)."""
    about = entry.manifest["description"]
    if "features of" in about:
        return "features"
    if "log of" in about:
        return "log"
    if about.get("kind") == "unlearned weights":
        return "unlearned"
    if "kind" in about:
        return "precomputation" if "weights" in about else "scores"
    return str(entry.manifest["role"])


def _draw_images(root: Path, classes: int = 3, per_class: int = 8, size: int = 16) -> None:
    draws = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(classes):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(per_class):
                pixels = draws.integers(0, 256, (size, size, 3), dtype=np.uint8) // 2 + 40 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


def flip_of(draws: random.Random) -> Callable[[Target], object]:
    """A flip of one bit, drawn when the file is there."""

    def flip(target: Target) -> None:
        content = target.path.read_bytes()
        target.path.write_bytes(flipped(content, draws.randrange(8 * len(content))))

    return flip


def damages(targets: list[Target]) -> dict[str, tuple[Target, Callable[[Target], object]]]:
    """Every structural damage to every target, by a title."""
    found: dict[str, tuple[Target, Callable[[Target], object]]] = {}
    for target in targets:
        for title, damage in structural([target.name]).items():
            found[f"{target.kind}: {title}"] = (target, lambda it, damage=damage: damage(it.folder))
        if any(each.name == target.name and each.kind != target.kind for each in targets):
            found[f"{target.kind}: another entry's {target.name}"] = (
                target,
                lambda it: with_anothers_file(it, targets),
            )
        if target.name == "weights.safetensors":
            found[f"{target.kind}: NaN weights"] = (target, lambda it: with_weights(it.folder, _first_is_nan))
    # Without a checkpoint a training starts from nothing, as it should: there is nothing to notice.
    return {title: each for title, each in found.items() if not title.startswith("checkpoint: no ")}


def with_anothers_file(target: Target, targets: list[Target]) -> None:
    """Put another entry's file of the same name in the target's place."""
    others = (each.path for each in targets if each.name == target.name and each.kind != target.kind)
    shutil.copy(next(path for path in others if path.exists()), target.path)


def _first_is_nan(weights: Any) -> Any:
    name = next(name for name, value in weights.items() if value.is_floating_point())
    return {**weights, name: torch.full_like(weights[name], float("nan"))}


def drawn_damages(
    targets: list[Target], count: int, draws: random.Random
) -> list[tuple[str, Target, Callable[[Target], object]]]:
    """``count`` of the structural damages: first one of each kind, then of each file, then others."""
    all_of_them = [(title, *rest) for title, rest in damages(targets).items()]
    draws.shuffle(all_of_them)
    firsts: dict[str, Any] = {}
    for each in all_of_them:
        firsts.setdefault(each[0].split(": ")[1].split(" ")[0], each)
        firsts.setdefault(f"{each[1].path}", each)
    chosen = list({each[0]: each for each in firsts.values()}.values())
    rest = [each for each in all_of_them if each[0] not in {one[0] for one in chosen}]
    return [*chosen, *rest][:count]


@dataclass
class Tally:
    """How often a kind of file was attacked, and how that ended."""

    flips: Counter[str]
    damages: Counter[str]
    used: list[str]
    left: list[str]


def attack(attacked: Attacked, flips: int, structural_damages: int, seed: int) -> Tally:
    """Damage files of a store and start the runs that read them."""
    draws = random.Random(seed)
    tally = Tally(Counter(), Counter(), [], [])
    turns = [(f"flip of {target.kind}: {target.name}", target, flip_of(draws))
             for target, _ in zip(cycle(attacked.targets), range(flips), strict=False)]  # fmt: skip
    turns += drawn_damages(attacked.targets, structural_damages, draws)
    draws.shuffle(turns)  # so that an attack that is cut short has tried every kind too
    for number, (title, target, damage) in enumerate(turns, start=1):
        used, healed = attacked.verdict(target, damage)
        (tally.flips if title.startswith("flip") else tally.damages)[target.kind] += 1
        tally.used += [title] if used else []
        tally.left += [] if healed else [title]
        print(f"[{number}/{len(turns)}] {title}: used silently {used}, healed {healed}", file=sys.stderr)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--damages", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("folder", nargs="?", type=Path, help="to work in; made if absent")
    given = parser.parse_args()
    bootstrap()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        tally = attack(Attacked(Path(folder)), given.flips, given.damages, given.seed)
    rows = [
        [kind, *(str(each[kind]) for each in (tally.flips, tally.damages)),
         *(str(sum(kind in title for title in titles)) for titles in (tally.used, tally.left))]
        for kind in sorted({*tally.flips, *tally.damages})
    ]  # fmt: skip
    print_table(
        f"seed {given.seed}: {tally.flips.total()} flipped bits and {tally.damages.total()} structural damages",
        ["file of", "flips", "damages", "used silently", "not healed by the next start"],
        rows,
    )
    for title in [*tally.used, *tally.left]:
        print(title)
    sys.exit(bool(tally.used or tally.left))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
