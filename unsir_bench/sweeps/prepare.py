"""Fetching what the runs of a sweep need from elsewhere, where there is an internet: images and pretrained weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from unsir_bench.config import Config
from unsir_bench.config_fields import identity
from unsir_bench.data.dataset import load_cached
from unsir_bench.errors import ConfigError, DataError, UnsirBenchError
from unsir_bench.records import printable
from unsir_bench.runtime.progress import Progress
from unsir_bench.sweeps.outcome import SweepJob, command_of, current_launch


def prepare(jobs: Sequence[SweepJob]) -> None:
    """Load each data set and build each pretrained network of the unfinished runs once, and say what is there.

    Downloads stay where the runs find them: under ``dataset.root`` and in the caches of torch and of the Hugging Face
    hub; folders of images are decoded into their cache. What the hardware lacks is no matter here. A problem is told
    once, with the first run that has it.
    """
    failed = current_launch().failed
    seen: dict[str, DataError | None] = {}
    told: set[str] = set()
    for job in jobs:
        if job.finished is not None:
            continue
        try:
            if isinstance(job.config, ConfigError):
                raise job.config
            for line in _fetched(job.config, seen):
                print(printable(line))
        except UnsirBenchError as error:
            if str(error) not in told:
                print(f"cannot be prepared: {command_of(job.overrides)}: {printable(str(error))}", file=sys.stderr)
            told.add(str(error))
            failed.append("prepare")


def _fetched(config: Config, seen: dict[str, DataError | None]) -> Iterator[str]:
    """Fetch what one run needs and no run before it did; a line for each.

    Args:
        config: of the run.
        seen: what was fetched before, and why a data set could not be.
    """
    places = [getattr(config.dataset, name, None) for name in ("root", "path", "revision")]
    data = repr((identity(config.dataset), places))
    network = repr((data, identity(config.model)))
    if (absent := seen.get(data)) is not None:
        raise absent
    from_elsewhere = getattr(config.model, "backbone", config.model).pretrained
    missing = data not in seen, from_elsewhere and network not in seen
    if not any(missing):
        return
    try:
        images = load_cached(config.dataset, Progress())
    except DataError as error:
        seen[data] = error
        raise
    seen |= {data: None, network: None}
    if missing[0]:
        yield f"dataset {config.dataset.name}: {len(images.train)} + {len(images.test)} images, {images.fingerprint}"
    if missing[1]:
        model = config.model.initial(images.image_shape, len(images.class_names), config.seed)
        count = sum(parameter.numel() for parameter in model.parameters())
        yield f"model {config.model.name}: pretrained weights, {count:,} parameters"
