"""A sweep's records in one file: the same reports as from its folders, and each bad line named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.report.test_bad_input import make
from unsir_bench.records import RunRecord, record_in_line
from unsir_bench.report.command import main
from unsir_bench.report.folders import LINES_FILE, gathered, read_sweep, sweep_folders


def gather(folder: Path, output: Path) -> Path:
    with pytest.raises(SystemExit) as ended:
        main(["gather", str(folder), "--output", str(output)])
    assert ended.value.code == 0
    return output / folder.name / LINES_FILE


def sweep_of(folder: Path, seeds: int = 3) -> Path:
    for seed in range(seeds):
        make(folder, "unsir", seed)
    return folder


def test_one_file_holds_the_records_of_the_folders_bit_for_bit(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "mine")
    file = gather(sweep, tmp_path / "shared")
    assert sweep_folders(tmp_path / "shared") == [file.parent]
    before, after = read_sweep(sweep), read_sweep(file.parent)
    assert after.records == before.records and len(after.records) == 3 and not after.unreadable
    assert [place.name for place, _ in after.found] == [f"{LINES_FILE}:{line}" for line in (1, 2, 3)]
    assert record_in_line(file, 2) == before.records[1]
    assert gathered(after) == file.read_text()  # gathered again


def test_tables_are_the_same(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "mine")
    file = gather(sweep, tmp_path / "shared")
    for folder, output in ((sweep, "a"), (file.parent, "b")):
        with pytest.raises(SystemExit):
            main(["tables", str(folder), "--output", str(tmp_path / output)])
    texts = [sorted(path.read_text() for path in (tmp_path / each).glob("*.md")) for each in ("a", "b")]
    assert texts[0] == texts[1] != []


def test_a_changed_line_is_named_and_the_others_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = gather(sweep_of(tmp_path / "mine"), tmp_path / "shared")
    lines = file.read_text().splitlines()
    content = json.loads(lines[1])
    content["metrics"]["acc_forget_test"] = 0.3
    file.write_text("\n".join([lines[0], json.dumps(content), "not JSON", lines[2]]) + "\n")
    sweep = read_sweep(file.parent)
    assert [place.name for place, _ in sweep.unreadable] == [f"{LINES_FILE}:2", f"{LINES_FILE}:3"]
    assert "digest" in sweep.unreadable[0][1] and len(sweep.records) == 2
    with pytest.raises(SystemExit):
        main(["tables", str(file.parent), "--output", str(tmp_path / "out")])
    assert "2 records cannot be read" in capsys.readouterr().err


def test_a_record_written_by_a_run_keeps_its_digest(tmp_path: Path) -> None:
    record = RunRecord.read(make(tmp_path / "mine", "unsir", 0))
    file = gather(tmp_path / "mine", tmp_path / "shared")
    assert record_in_line(file, 1).digest == record.digest
