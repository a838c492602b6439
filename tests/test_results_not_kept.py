"""Runs that end as failed though they were done: their numbers are of no one content, or no reader would take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from tests.test_runner import tiny_in
from unsir_bench import compose, runner
from unsir_bench.data.dataset import load_cached
from unsir_bench.data.forget_samples import IndexFile
from unsir_bench.errors import UnrecordableError
from unsir_bench.records import RunRecord
from unsir_bench.runner import run
from unsir_bench.runtime.progress import Progress


@pytest.mark.parametrize("key", ["forget.file", "model.weights"])
def test_a_run_whose_files_are_written_anew_meanwhile_fails_in_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Its numbers are of the old content or of the new one, and its id is a hash of one of them."""
    file = tmp_path / ("forget.csv" if key == "forget.file" else "weights.safetensors")
    given = ["forget=indices", f"{key}={file}"] if key == "forget.file" else [f"{key}={file}"]
    words = ["dataset.subset=15", "model.width=4", "method=original", "metrics=fast", "tracker=none"]
    before = compose([*words, f"outputs={tmp_path}"])
    save_file(before.model.initial((1, 8, 8), 10, 5).state_dict(), tmp_path / "weights.safetensors")
    data = load_cached(before.dataset, Progress(interactive=False)).fingerprint
    IndexFile(data, (0, 1)).write(tmp_path / "forget.csv")
    config = compose([*words, f"outputs={tmp_path}", f"store.root={tmp_path}/store", *given])
    folder = config.folder

    def rewritten(*_: object) -> None:
        if key == "forget.file":
            IndexFile(data, (0, 1, 2)).write(file)
        else:
            save_file(before.model.initial((1, 8, 8), 10, 6).state_dict(), file)

    monkeypatch.setattr(runner, "forget_and_evaluate", rewritten)
    record = run(config)
    assert record.status == "failed" and f"{key}={file}" in (record.reason or "")
    assert "changed while the run was" in (record.reason or "")
    assert (record.run_id, RunRecord.read(folder / "record.json").run_id) == (folder.name, folder.name)
    assert [path.parent for path in tmp_path.glob("runs/*/record.json")] == [folder]


def test_a_record_that_no_reader_takes_is_written_as_failed_and_names_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(scene: Any) -> None:
        scene.record.details["answers"] = [2**63]

    monkeypatch.setattr(runner, "forget_and_evaluate", measured)
    tiny = tiny_in(tmp_path)
    record = run(tiny)
    assert record.status == "failed" and "details.answers: 9223372036854775808 is no number" in (record.reason or "")
    assert RunRecord.read(tiny.folder / "record.json").reason == record.reason
    record.details["answers"] = "x" * 2**25
    with pytest.raises(UnrecordableError, match=r"details\.answers: the record would have 335\d+ bytes"):
        record.write(tiny.folder)
    assert RunRecord.read(tiny.folder / "record.json").reason != ""
