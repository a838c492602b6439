"""Fetching what the runs of a sweep need from elsewhere, where there is an internet: images and pretrained weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from unsir_bench.config import Config
from unsir_bench.config_fields import identity
from unsir_bench.data.dataset import load_cached
from unsir_bench.errors import ConfigError, UnsirBenchError
from unsir_bench.records import printable
from unsir_bench.runtime.progress import Progress
from unsir_bench.sweeps.outcome import SweepJob, command_of, current_launch


def prepare(jobs: Sequence[SweepJob]) -> None:
    """Load each data set and build each pretrained network of the unfinished runs once, and say what is there.

    Downloads stay where the runs find them: under ``dataset.root`` and in the caches of torch and of the Hugging Face
    hub; folders of images are decoded into their cache. What the hardware lacks is no matter here.
    """
    failed = current_launch().failed
    seen: set[str] = set()
    for job in jobs:
        if job.finished is not None:
            continue
        try:
            if isinstance(job.config, ConfigError):
                raise job.config
            for line in _fetched(job.config, seen):
                print(printable(line))
        except UnsirBenchError as error:
            print(f"cannot be prepared: {command_of(job.overrides)}: {printable(str(error))}", file=sys.stderr)
            failed.append("prepare")


def _fetched(config: Config, seen: set[str]) -> Iterator[str]:
    """Fetch what one run needs and no run before it did; a line for each."""
    data = repr((identity(config.dataset), config.dataset.root))
    network = repr((data, identity(config.model)))
    from_elsewhere = getattr(config.model, "backbone", config.model).pretrained
    missing = data not in seen, from_elsewhere and network not in seen
    if not any(missing):
        return
    images = load_cached(config.dataset, Progress())
    seen |= {data, network}
    if missing[0]:
        yield f"dataset {config.dataset.name}: {len(images.train)} + {len(images.test)} images, {images.fingerprint}"
    if missing[1]:
        model = config.model.initial(images.image_shape, len(images.class_names), config.seed)
        count = sum(parameter.numel() for parameter in model.parameters())
        yield f"model {config.model.name}: pretrained weights, {count:,} parameters"
