"""40 records that somebody planted: report and table come out, each of them is named, and none is obeyed."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_bad_input import METRICS, make
from unsir_bench.records import LARGEST, digest
from unsir_bench.report.command import main
from unsir_bench.report.tables.sweep import write_sweep_table

DEEP = 200_000
ESCAPE = "\x1b]0;owned\x07"


def text(content: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


def instead(place: Callable[[Path], object]) -> Callable[[Path], object]:
    def plant(path: Path) -> None:
        path.unlink()
        place(path)

    return plant


def changed(*, signed: bool = True, **changes: Any) -> Callable[[Path], object]:
    """Fields replaced, by default with a digest made right again."""

    def plant(path: Path) -> None:
        content = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({**content, "digest": digest(content)} if signed else content))

    return plant


def raw_metric(word: str) -> Callable[[Path], object]:
    """A metric written as ``word``."""
    return lambda path: path.write_text(
        path.read_text().replace('"acc_forget_test": 0.1', f'"acc_forget_test": {word}')
    )


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**36)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "deep_list": text("[" * DEEP),
    "deep_object": text('{"schema_version":' * DEEP),
    "deep_detail": text('{"schema_version": 1, "details": ' + '{"a":' * DEEP + "1" + "}" * (DEEP + 1)),
    "deep_signed": text('{"schema_version": 2, "details": ' + "[" * DEEP + "]" * DEEP + "}"),
    "huge_float": raw_metric("1e999"),
    "huge_negative": raw_metric("-1e999"),
    "huge_integer": raw_metric("9" * 400),
    "endless_integer": raw_metric("9" * 5_000),
    "nan": raw_metric("NaN"),
    "infinity": raw_metric("Infinity"),
    "sparse_file": sparse,
    "large_file": text(b" " * (LARGEST + 1)),
    "pipe": instead(os.mkfifo),
    "device": instead(device),
    "folder": instead(Path.mkdir),
    "link_to_zero": instead(lambda path: path.symlink_to("/dev/zero")),
    "link_to_nothing": instead(lambda path: path.symlink_to("/nowhere")),
    "link_to_itself": instead(lambda path: path.symlink_to(path)),
    "link_to_folder": instead(lambda path: path.symlink_to("/proc")),
    "empty": text(""),
    "zeros": text(b"\0" * 4096),
    "utf16": lambda path: path.write_text(path.read_text(), encoding="utf-16"),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "no_object": text("3"),
    "null": text("null"),
    "edited": changed(signed=False, metrics={"acc_forget_test": 0.0}),
    "digest_of_another": changed(signed=False, digest="0" * 64),
    "digest_a_list": changed(signed=False, digest=[]),
    "no_digest": changed(signed=False, digest=""),
    "version_a_list": changed(schema_version=[2]),
    "version_true": changed(schema_version=True),
    "accuracy_above_1": changed(metrics={**METRICS, "acc_forget_test": 1.5}),
    "accuracy_below_0": changed(metrics={**METRICS, "retrain_acc_forget_test": -0.1}),
    "seed_of_words": changed(seed="0; rm"),
    "config_a_word": changed(config={"metrics": "fast"}),
    "config_listed": changed(config={"train": ["a"]}),
    "steps_a_number": changed(details={"steps": 5}),
    "steps_of_words": changed(details={"steps": ["one"]}),
    "access_a_word": changed(access={"declared": "all", "forget": 3}),
    "access_nested": changed(access={"declared": [["x"]]}),
}


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """A sweep of one good record, and the hostile ones."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.WARNING)
    make(tmp_path / "s")
    for name, plant in HOSTILE.items():
        plant(make(tmp_path / "s", name))
    return tmp_path / "s"


def named_once(caplog: pytest.LogCaptureFixture) -> None:
    assert len(HOSTILE) == 40
    for name in HOSTILE:
        assert caplog.text.count(f"/{name}-s0/record.json cannot be read and is left out") == 1, name


def test_the_table_of_a_sweep_comes_out_and_names_each(
    sweep: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep / "table.md" in write_sweep_table(sweep)
    named_once(caplog)
    rows = list(csv.DictReader(io.StringIO((sweep / "results.csv").read_text())))
    assert [row["run_id"] for row in rows] == ["unsir-s0"]
    assert "unsir" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["tables", "claims", "html", "figures"])
def test_each_report_comes_out_and_names_each(
    sweep: Path, command: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Path("out") / ("page.html" if command == "html" else "")
    with pytest.raises(SystemExit) as stopped:
        main([command, "s", "--output", str(output)])
    assert stopped.value.code == 0
    named_once(caplog)
    assert "40 records cannot be read" in capsys.readouterr().err


def test_texts_reach_neither_the_terminal_nor_a_spreadsheet_as_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    formulas = ["=1+cmd|'/c calc'!A0", "+1", "-1", "@SUM(A1)", "＝1+1", f"red{ESCAPE}"]
    for seed, words in enumerate(formulas):
        make(tmp_path / "s", seed=seed, run_id=f"run{seed}", method=words, model=words, metrics={**METRICS, words: 0.5})
    write_sweep_table(tmp_path / "s")
    written = "".join(path.read_text() for path in (tmp_path / "s").glob("*.*"))
    said = capsys.readouterr()
    for everything in (written, said.out, said.err):
        assert not set(everything) & set("\x1b\x07")
    rows = list(csv.reader(io.StringIO((tmp_path / "s" / "results.csv").read_text())))
    cells = [cell for row in rows for cell in row]
    assert sum(cell.startswith("'") for cell in cells) >= 3 * 5  # method, model and the metric's title
    assert not set(formulas) & set(cells)
    for cell in cells:
        assert not cell.startswith(tuple("=+-@＝＋－＠")) or float(cell) < 0


def test_names_are_text_in_every_table_that_a_sweep_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tag, emphasis, and a bar whose escape is escaped: each shows as it is, and no row has a column more."""
    image, part = "<img src=x onerror=alert(1)> a*b*", "x\\|y"
    for seed in (0, 1):
        make(
            tmp_path / "s", seed=seed, run_id=f"run{seed}", dataset=image, forget_set="subclass",
            config={"forget": {"subclasses": [part]}, "method": {part: seed}},
            metrics={**METRICS, "gap_acc_forget_test": 0.1, f"{part} <img": 0.5},
        )  # fmt: skip
    write_sweep_table(tmp_path / "s")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["metrics", str(tmp_path / "s")])
    written = [(tmp_path / "s" / name).read_text() for name in ("table.md", "verdicts.md")]
    for text in (*written, capsys.readouterr().out):
        assert "<img" not in text and "&lt;img src=x onerror=alert(1)> a\\*b\\*" in text
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows}) == 1
