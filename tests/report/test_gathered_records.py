"""A sweep's records in one file: the same reports as from its folders, and each bad line named."""

from __future__ import annotations

import json
import lzma
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.test_bad_input import METRICS, make
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


def numbers_in(folder: Path) -> list[tuple[str, float | int | None]]:
    """Of each record the name of its file, with its line, and a metric."""
    return [(place.name, record.metrics["acc_forget_test"]) for place, record in read_sweep(folder).found]


def test_a_run_that_was_evaluated_after_it_was_gathered_counts_by_the_record_in_its_folder(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "mine", seeds=2)
    assert gather(sweep, tmp_path).parent == sweep
    later = RunRecord.read(sweep / "unsir-s0" / "record.json")
    later.metrics["acc_forget_test"] = 0.3
    later.evaluated = [{"metrics": {}, "finished": "2999-01-01T00:00:00+00:00"}]
    later.write(sweep / "unsir-s0")
    assert numbers_in(sweep) == [("record.json", 0.3), ("record.json", 0.1)]


def test_a_run_that_was_gathered_as_failed_and_done_again_is_done(tmp_path: Path) -> None:
    sweep = tmp_path / "mine"
    make(sweep, status="failed", metrics={}, finished="2026-01-02T00:00:00+00:00")
    gather(sweep, tmp_path)
    make(sweep, finished="2026-01-01T00:00:00+00:00")  # a clock may go wrong: the folder counts
    assert [record.status for record in read_sweep(sweep).records] == ["done"]


@pytest.mark.parametrize("forms", [((), ("--xz",)), (("--xz",), ())], ids=["packed later", "plain later"])
def test_of_two_files_the_one_with_the_record_written_last_counts(
    forms: tuple[tuple[str, ...], ...], tmp_path: Path
) -> None:
    sweep, finished = tmp_path / "mine", "2026-01-01T00:00:00+00:00"
    make(sweep, finished=finished)
    make(sweep, seed=1, finished=finished)
    gather(sweep, tmp_path / "shared", *forms[0])
    added = [{"metrics": {}, "finished": "2026-01-02T00:00:00+00:00"}]
    make(sweep, finished=finished, evaluated=added, metrics={**METRICS, "acc_forget_test": 0.3})
    shutil.rmtree(sweep / "unsir-s1")
    file = gather(sweep, tmp_path / "shared", *forms[1])
    # The run that only the first file knows is kept.
    assert sorted(value or 0.0 for _, value in numbers_in(file.parent)) == [0.1, 0.3]


def test_records_of_a_run_that_differ_within_one_file_are_all_kept(tmp_path: Path) -> None:
    make(tmp_path / "mine")
    file = gather(tmp_path / "mine", tmp_path / "shared")
    make(tmp_path / "mine", metrics={**METRICS, "acc_forget_test": 0.3})
    lines = file.read_text() + gather(tmp_path / "mine", tmp_path / "again").read_text()
    file.write_text(lines)
    assert numbers_in(file.parent) == [(f"{LINES_FILE}:1", 0.1), (f"{LINES_FILE}:2", 0.3)]


def test_a_line_that_cannot_be_read_is_warned_of_by_name_even_where_only_metrics_are_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = gather(sweep_of(tmp_path / "mine", seeds=1), tmp_path / "shared")
    file.write_text(file.read_text() + "not JSON\n")
    with pytest.raises(SystemExit) as ended:
        main(["metrics", str(file.parent)])
    assert ended.value.code == 0
    assert f"{file}:2 cannot be read and is left out: Expecting value" in caplog.text


def test_two_sweeps_of_one_name_are_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [sweep_of(tmp_path / parent / "mine", seeds=1) for parent in ("a", "b")]
    with pytest.raises(SystemExit) as ended:
        main(["gather", *map(str, folders), "--output", str(tmp_path / "shared")])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and not (tmp_path / "shared").exists()
    assert f"{folders[0]} and {folders[1]} are both named mine" in said and "--output of its own" in said


def test_an_output_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = sweep_of(tmp_path / "mine", seeds=1)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        main(["gather", str(sweep), "--output", str(tmp_path / "file")])
    assert ended.value.code == 2 and (tmp_path / "file").read_text() == "mine"
    assert "is a file; --output names a folder" in capsys.readouterr().err


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
