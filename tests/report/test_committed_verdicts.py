"""No verdict below docs/results comes from records of several commits, several kinds of CPU, or an unclean tree."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.folders import read_sweep, sweep_folders
from unsir_bench.report.mixtures import mixture_words

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
VERDICT_FILES = ("verdicts.md", "claims.md", "claims.json")


def verdict_files() -> list[str]:
    return sorted(path.relative_to(RESULTS).as_posix() for name in VERDICT_FILES for path in RESULTS.rglob(name))


@cache
def records_below(folder: Path) -> dict[str, RunRecord]:
    return {record.run_id: record for sweep in sweep_folders(folder) for record in read_sweep(sweep).records}


def faults(file: Path, results: Path) -> Iterator[str]:
    """Why the verdicts of a file do not stand: of the runs that it names, or else of the records below its folder."""
    claims, own = file.with_name("claims.json"), records_below(file.parent)
    names = set(_runs_named(json.loads(claims.read_text()))) if claims.exists() else set(own)
    # A run may also be elsewhere, on another CPU.
    known = own if names <= own.keys() else {**records_below(results), **own}
    records = [known[name] for name in sorted(names & set(known))]
    if len(records) < len(names) or not names:
        yield f"{len(names) - len(records)} of its {len(names)} records are not there"
    if mixture := mixture_words(records):
        yield mixture
    if any(not record.environment.get(name) for record in records for name in ("commit", "cpu", "cpu_capability")):
        yield "a record without its commit or its kind of CPU"


def _runs_named(content: Any) -> Iterator[str]:
    """All run ids in the findings of a claims.json."""
    if isinstance(content, dict):
        yield from content.get("runs", []) if isinstance(content.get("runs"), list) else []
        yield from _each(content.values())
    elif isinstance(content, list):
        yield from _each(content)


def _each(contents: Iterable[Any]) -> Iterator[str]:
    for content in contents:
        yield from _runs_named(content)


@pytest.mark.parametrize("name", verdict_files())
def test_verdicts_come_from_one_clean_commit_and_one_kind_of_cpu(name: str) -> None:
    assert list(faults(RESULTS / name, RESULTS)) == []


def record(run_id: str, **environment: object) -> RunRecord:
    around = {"commit": "a", "dirty": False, "cpu": "x", "cpu_capability": "AVX2", **environment}
    return RunRecord(
        run_id=run_id, sweep="s", method="unsir", dataset="digits", model="net", seed=0, status="done",
        forget_set="single", forget_classes=[0], metrics={}, config={}, environment=around,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ({}, []),
        ({"commit": "b"}, ["2 commits"]),
        ({"cpu_capability": "AVX512"}, ["2 kinds of CPU"]),
        ({"dirty": True}, ["an unclean tree"]),
        ({"cpu_capability": None}, ["a record without its commit or its kind of CPU"]),
    ],
)
def test_each_fault_is_found(other: dict[str, object], found: list[str], tmp_path: Path) -> None:
    for run in (record("one"), record("two", **other)):
        run.write(tmp_path / "s" / run.run_id)
    (tmp_path / "s" / "verdicts.md").touch()
    assert list(faults(tmp_path / "s" / "verdicts.md", tmp_path)) == found
    (tmp_path / "c").mkdir()
    named = {"runs": {"done": 2}, "claims": [{"findings": [{"runs": ["one"]}, {"runs": ["two"]}]}]}
    (tmp_path / "c" / "claims.json").write_text(json.dumps(named))
    assert list(faults(tmp_path / "c" / "claims.md", tmp_path)) == found


def test_verdicts_without_their_records_do_not_stand(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "claims.json").write_text(json.dumps({"claims": [{"runs": ["gone"]}]}))
    assert list(faults(tmp_path / "c" / "claims.json", tmp_path)) == ["1 of its 1 records are not there"]
    (tmp_path / "d").mkdir()
    assert list(faults(tmp_path / "d" / "verdicts.md", tmp_path)) == ["0 of its 0 records are not there"]
