"""Whether a run is finished: under its own id, or under that of a run that unlearned the same and has its metrics."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from unsir_bench.config import Config
from unsir_bench.data.dataset import load_cached
from unsir_bench.data.picture_set import PictureSet
from unsir_bench.errors import ConfigError, DataError
from unsir_bench.evaluation.evaluate import MetricsConfig
from unsir_bench.evaluation.metric_inputs import NOT_TRAINED
from unsir_bench.records import RECORD_FILE, RunRecord, finished_record
from unsir_bench.runtime.progress import Progress


def recorded_metrics(record: RunRecord) -> MetricsConfig:
    """The settings of all metrics of a record, those added after the run included; raises as their ``recorded``."""
    return MetricsConfig.recorded(record.measured_with)


def finished_run(config: Config) -> RunRecord | None:
    """The record of the finished run of the sweep that has all that is asked, or None.

    A run's id hashes the metrics it was started with. One whose record has all the metrics asked, or more, is taken
    too: it differs in nothing else. So is one whose id names the files of its images, as ids once did, if they are
    these images.

    Raises:
        ConfigError: the run that has the id is of other images. A composed configuration knows the content of its
            images, which its id hashes; one that was put together by hand may not.
    """
    candidates = (config, *_named_by_files(config))
    for candidate in candidates:
        record = finished_record(candidate.folder)
        if record is not None and _of_its_images(record, config):
            return record
        if record is not None and candidate is config:
            raise ConfigError([
                f"dataset.root={config.dataset.root}: {record.run_id} is finished, of other images in files of the "
                "same names and sizes, or these cannot be read; give these a sweep of their own (sweep=NAME)"
            ])  # fmt: skip
    alike = (record for candidate in candidates for record in _alike(candidate))
    return next((record for record in alike if _has_metrics(record, config) and _of_its_images(record, config)), None)


def _named_by_files(config: Config) -> Iterator[Config]:
    """The same run with the id that it had when names and sizes of files stood for the images."""
    if isinstance(config.dataset, PictureSet) and config.dataset.content:
        yield replace(config, dataset=replace(config.dataset, content=None))


def _of_its_images(record: RunRecord, config: Config) -> bool:
    """Whether a record is of the configuration's images; they are read only where nothing cheaper tells."""
    then = record.config.get("dataset") or {}
    if (content := getattr(config.dataset, "content", None)) and then.get("content") == content:
        return True
    if not config.dataset.may_have_changed(then.get("root"), datetime.fromisoformat(record.started).timestamp()):
        return True
    known = record.fingerprints.get("data")
    try:
        return load_cached(config.dataset, Progress()).fingerprint == known if known else not content
    except DataError:
        return False


def _alike(config: Config) -> Iterator[RunRecord]:
    """Records of the sweep whose runs unlearned the same, bit for bit."""
    unlearning, name = config.unlearning_id, config.run_id.rpartition("-")[0]
    for path in sorted(config.folder.parent.glob(f"{glob.escape(name)}-*/{RECORD_FILE}")):
        try:
            record = RunRecord.read(path)
        except ValueError:  # the run that it is of warns
            continue
        made_by = {kept.get("unlearning") for kept in record.unlearned}
        if record.status == "done" and record.run_id == path.parent.name and made_by == {unlearning}:
            yield record


def _has_metrics(record: RunRecord, config: Config) -> bool:
    try:
        has = recorded_metrics(record)
    except ValueError:
        return False
    retrained = record.metrics.get("retrain_acc_retain_train") is not None
    lacking = not retrained or any(why.endswith(NOT_TRAINED) for why in record.metric_notes.values())
    if config.retrain_reference and lacking:
        return False
    return replace(has.joined(config.metrics), name=has.name) == has
