"""Sweeps that overlap: each run is computed once, whoever is first."""

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest

from unsir_bench import runner
from unsir_bench.cli.bootstrap import compose
from unsir_bench.config import Config
from unsir_bench.errors import ConfigError, NotRecordedError
from unsir_bench.records import RECORD_FILE
from unsir_bench.runner import run

FORK = multiprocessing.get_context("fork")
SWEEPS, SEEDS = 4, 5


def configs(folder: Path) -> list[Config]:
    places = [f"outputs={folder}", f"store.root={folder}/store", "tracker=none"]
    return [compose([*places, f"seed={seed}"]) for seed in range(SEEDS)]


def sweep(wanted: list[Config], found: Any) -> None:
    found.put([run(config).digest for config in wanted])


def test_four_sweeps_of_the_same_runs_compute_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = tmp_path / "computed"

    def compute(config: Config, tracker: Any, record: Any) -> None:
        with computed.open("a") as log:
            log.write(f"{config.run_id} {os.getpid()}\n")
        time.sleep(0.1)
        record.status = "done"

    monkeypatch.setattr(runner, "_launched", compute)
    wanted, found = configs(tmp_path), FORK.Queue()
    sweeps = [FORK.Process(target=sweep, args=(wanted, found)) for _ in range(SWEEPS)]
    for process in sweeps:
        process.start()
    digests = [found.get(timeout=60) for _ in sweeps]
    for process in sweeps:
        process.join(30)
        assert process.exitcode == 0
    assert sorted(line.split()[0] for line in computed.read_text().splitlines()) == sorted(c.run_id for c in wanted)
    assert all(each == digests[0] for each in digests) and len(set(digests[0])) == SEEDS


def test_a_run_without_a_place_for_its_record_is_refused(tmp_path: Path) -> None:
    config = compose([f"outputs={tmp_path}/in", "sweep=../../x"])
    with pytest.raises(ConfigError, match=r"sweep=\.\./\.\./x: must be a folder name"):
        run(config)
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_cannot_be_written_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    config = compose([f"outputs={tmp_path}/file", "tracker=none"])
    with pytest.raises(NotRecordedError, match=r"Not a directory.*choose another folder by outputs=FOLDER"):
        run(config)

    def fill_the_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device", RECORD_FILE)

    config = compose([f"outputs={tmp_path}/runs", "tracker=none"])
    monkeypatch.setattr(runner, "_launched", lambda *_: None)
    monkeypatch.setattr(runner.RunRecord, "write", fill_the_disk)
    with pytest.raises(NotRecordedError, match="No space left on device"):
        run(config)
