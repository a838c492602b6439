"""A sweep's records in one file: the same reports as from its folders, and each bad line named."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.test_bad_input import make
from unsir_bench.records import RunRecord, record_in_line
from unsir_bench.report.command import main
from unsir_bench.report.folders import LINES_FILE, PACKED_FILE, gathered, read_sweep, sweep_folders
from unsir_bench.runtime import files


def gather(folder: Path, output: Path, *options: str) -> Path:
    with pytest.raises(SystemExit) as ended:
        main(["gather", str(folder), "--output", str(output), *options])
    assert ended.value.code == 0
    return output / folder.name / (PACKED_FILE if options else LINES_FILE)


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


def test_a_packed_file_is_read_like_the_plain_one(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "mine")
    plain, packed = gather(sweep, tmp_path / "plain"), gather(sweep, tmp_path / "packed", "--xz")
    assert lzma.decompress(packed.read_bytes()) == plain.read_bytes()
    assert sweep_folders(tmp_path / "packed") == [packed.parent]
    found = read_sweep(packed.parent)
    assert found.records == read_sweep(sweep).records and not found.unreadable
    assert record_in_line(packed, 2) == found.records[1]
    assert gathered(found) == plain.read_text()


def test_a_sweep_gathered_in_both_forms_is_read_once(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "mine")
    plain, packed = gather(sweep, tmp_path / "shared"), gather(sweep, tmp_path / "shared", "--xz")
    assert plain.parent == packed.parent
    assert read_sweep(plain.parent).records == read_sweep(sweep).records


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda content: content[:-20], "is cut off"),
        (lambda content: b"no record, and not packed", "is no whole .xz file"),
        (lambda content: content + b"more", "has bytes behind its end"),
        (lambda content: content[:60] + bytes([content[60] ^ 1]) + content[61:], "is no whole .xz file"),
    ],
)
def test_a_damaged_packed_file_is_named_and_not_read(
    damage: Callable[[bytes], bytes], why: str, tmp_path: Path
) -> None:
    packed = gather(sweep_of(tmp_path / "mine"), tmp_path / "packed", "--xz")
    packed.write_bytes(damage(packed.read_bytes()))
    found = read_sweep(packed.parent)
    assert not found.records and [path for path, _ in found.unreadable] == [packed]
    assert why in found.unreadable[0][1]


def test_a_small_file_that_unpacks_to_very_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_UNPACKED", 1000)
    path = tmp_path / PACKED_FILE
    path.write_bytes(lzma.compress(bytes(1001)))
    with pytest.raises(OSError, match="holds more than 1000 bytes"):
        files.read_lines(path)
    path.write_bytes(lzma.compress(bytes(1000)))
    assert files.read_lines(path) == [bytes(1000)]


def test_a_record_that_is_written_while_a_sweep_is_read_is_not_called_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path / "mine", seeds=2)
    read = RunRecord.read

    def another_ends(path: Path) -> RunRecord:
        make(sweep, "unsir", 7)
        return read(path)

    monkeypatch.setattr(RunRecord, "read", another_ends)
    found = read_sweep(sweep)
    assert found.unreadable == [] and len(found.records) == 2
