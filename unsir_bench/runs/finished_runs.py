"""Whether a run is finished: under its own id, or under that of a run that unlearned the same and has its metrics."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from unsir_bench.config import Config
from unsir_bench.data.dataset import load_cached
from unsir_bench.errors import ConfigError
from unsir_bench.evaluation.evaluate import MetricsConfig
from unsir_bench.records import RECORD_FILE, RunRecord, finished_record
from unsir_bench.runtime.progress import Progress


def recorded_metrics(record: RunRecord) -> MetricsConfig:
    """The settings of all metrics of a record, those added after the run included; raises as their ``recorded``."""
    return MetricsConfig.recorded(record.measured_with)


def finished_run(config: Config) -> RunRecord | None:
    """The record of the finished run of the sweep that has all that is asked, or None.

    A run's id hashes the metrics it was started with. One whose record has all the metrics asked, or more, is taken
    too: it differs in nothing else.

    Raises:
        ConfigError: it is of other images. Run ids hold the names and sizes of a folder's files, not their content.
    """
    own = _under_its_own_id(config)
    return own if own is not None else next((record for record in _alike(config) if _has_metrics(record, config)), None)


def _under_its_own_id(config: Config) -> RunRecord | None:
    record = finished_record(config.folder)
    known = record and record.fingerprints.get("data")
    if record is None or not known:
        return record
    root = (record.config.get("dataset") or {}).get("root")
    read_at = datetime.fromisoformat(record.started).timestamp()
    doubtful = config.dataset.may_have_changed(root, read_at)
    if not doubtful or load_cached(config.dataset, Progress()).fingerprint == known:
        return record
    raise ConfigError([
        f"dataset.root={config.dataset.root}: {record.run_id} is finished, of other images (dataset.root={root}, "
        f"{record.started}) in files of the same names and sizes. Give these a name of their own (dataset.name=NAME) "
        "or a sweep of their own (sweep=NAME), or remove that run's folder"
    ])  # fmt: skip


def _alike(config: Config) -> Iterator[RunRecord]:
    """Records of the sweep whose runs unlearned the same, bit for bit."""
    name = config.run_id.rpartition("-")[0]
    for path in sorted(config.folder.parent.glob(f"{glob.escape(name)}-*/{RECORD_FILE}")):
        try:
            record = RunRecord.read(path)
        except ValueError:  # the run that it is of warns
            continue
        made_by = {kept.get("unlearning") for kept in record.unlearned}
        if record.status == "done" and record.run_id == path.parent.name and made_by == {config.unlearning_id}:
            yield record


def _has_metrics(record: RunRecord, config: Config) -> bool:
    try:
        has = recorded_metrics(record)
    except ValueError:
        return False
    retrained = record.metrics.get("retrain_acc_retain_train") is not None or not config.retrain_reference
    return retrained and replace(has.joined(config.metrics), name=has.name) == has
