"""What the commands of `unsir-report` make of records that are missing, damaged, mixed or unfinished.

None may crash, and none may leave something out without a word: each says it or shows a marked gap.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unsir_bench.records import RunRecord, digest
from unsir_bench.report.command import main

COMMANDS = ("tables", "figures", "claims", "html")
METRICS = {
    "acc_forget_test": 0.1,
    "acc_retain_test": 0.9,
    "original_acc_forget_test": 0.95,
    "original_acc_retain_test": 0.92,
    "retrain_acc_forget_test": 0.0,
    "retrain_acc_retain_test": 0.91,
    "unlearn_seconds": 2.0,
    "retrain_seconds": 10.0,
}
Report = Callable[..., str]


def make(folder: Path, method: str = "unsir", seed: int = 0, **changes: Any) -> Path:
    """Write a record; returns its path."""
    fields: dict[str, Any] = {
        "run_id": f"{method}-s{seed}",
        "sweep": folder.name,
        "method": method,
        "dataset": "digits",
        "model": "net",
        "seed": seed,
        "config": {"metrics": {"name": "fast"}},
        "status": "done",
        "forget_set": "single",
        "forget_classes": [0],
        "metrics": METRICS,
    }
    record = RunRecord(**{**fields, **changes})
    return record.write(folder / record.run_id)


def unfinished(folder: Path, method: str, status: str) -> None:
    make(folder, method, status=status, reason=f"why it {status}", metrics={})


@pytest.fixture(params=COMMANDS)
def report(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Report:
    """Run a command on folders; returns all that it said, and all text that it wrote."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("unsir_bench.report.figures.style.DOTS_PER_INCH", 30)

    def run(*folders: str, status: int = 0) -> str:
        output = Path("out") / ("page.html" if request.param == "html" else "")
        with pytest.raises(SystemExit) as stopped:
            main([request.param, *folders, "--output", str(output)])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert stopped.value.code == status, said
        files = [path for path in Path("out").rglob("*") if path.suffix in {".md", ".tex", ".json", ".html", ".csv"}]
        return "\n".join([said.out, said.err, caplog.text, *(path.read_text(encoding="utf-8") for path in files)])

    run.command = request.param  # type: ignore[attr-defined]
    return run


@pytest.mark.parametrize("kind", ["empty", "absent", "file"])
def test_a_folder_without_records_is_named_and_nothing_is_written(report: Report, tmp_path: Path, kind: str) -> None:
    if kind == "empty":
        (tmp_path / "empty" / "run").mkdir(parents=True)
    if kind == "file":
        (tmp_path / "file").write_text("no folder")
    said = report(kind, status=2)
    assert f"no records below {kind}" in said and "unsir-bench -m experiment=digits_demo" in said
    assert not (tmp_path / "out").exists()


def later_version(path: Path) -> None:
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 3'))


def without_version(path: Path) -> None:
    content = json.loads(path.read_text())
    del content["schema_version"]
    path.write_text(json.dumps(content))


def replaced(name: str, value: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = {**json.loads(path.read_text()), name: value}
        path.write_text(json.dumps({**content, "digest": digest(content)}))

    return damage


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "later": (later_version, "schema version 3 is not 2"),
    "unversioned": (without_version, "schema version None is not 2"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "Unterminated string"),
    "empty": (lambda path: path.write_bytes(b""), "Expecting value"),
    "binary": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "utf-8"),
    "list": (lambda path: path.write_text("[1, 2]"), "schema version None"),
    "folder": (a_folder, "no regular file"),
    "no_metrics": (replaced("metrics", None), "metrics is no dict"),
    "listed_metrics": (replaced("metrics", [1]), "metrics is no dict"),
    "words": (replaced("metrics", {"acc_forget_test": "none"}), "metrics is no dict"),
    "nan": (replaced("metrics", {"acc_forget_test": float("nan")}), "NaN is no number"),
    "seed": (replaced("seed", "one"), "seed is no"),
    "model": (replaced("model", None), "model is no"),
    "section": (replaced("config", {"method": None}), "config.method is no section"),
    "classes": (replaced("forget_classes", {"0": 0}), "forget_classes is no list"),
}


def test_records_that_cannot_be_read_are_named_with_the_reason_and_the_others_are_reported(
    report: Report, tmp_path: Path
) -> None:
    make(tmp_path / "s")
    for kind, (damage, _) in DAMAGE.items():
        damage(make(tmp_path / "s", kind))
    said = report("s")
    for kind, (_, why) in DAMAGE.items():
        line = next(line for line in said.splitlines() if f"{kind}-s0/record.json cannot be read" in line)
        assert why in line
    assert f"{len(DAMAGE)} records cannot be read" in said
    assert any(path.is_file() for path in (tmp_path / "out").rglob("*"))


def test_a_sweep_of_unreadable_records_alone_is_said_beside_one_that_can_be_read(
    report: Report, tmp_path: Path
) -> None:
    make(tmp_path / "good")
    later_version(make(tmp_path / "old"))
    assert "old/unsir-s0/record.json cannot be read" in report(".")


def test_records_of_two_data_sets_in_a_folder_never_share_a_number(report: Report, tmp_path: Path) -> None:
    make(tmp_path / "s")
    other = {**METRICS, "acc_retain_test": 0.5}
    make(tmp_path / "s", seed=1, dataset="faces", metrics=other)
    said = report("s")
    assert "faces" in said and "digits" in said
    # Neither the mean of 0.9 and 0.5 nor an interval over the two.
    assert "70.00" not in said and "n = 2" not in said
    if report.command == "html":  # type: ignore[attr-defined]
        assert "2 data sets stand here side by side" in said
    if report.command == "tables":  # type: ignore[attr-defined]
        assert said.count("**digits, net") == 1 and said.count("**faces, net") == 1
    if report.command == "figures":  # type: ignore[attr-defined]
        assert {path.stem for path in (tmp_path / "out").rglob("trade_off*.csv")} == {
            f"trade_off-{name}-net-single_0" for name in ("digits", "faces")
        }


def test_a_missing_retrained_model_is_said(report: Report, tmp_path: Path) -> None:
    alone = {name: value for name, value in METRICS.items() if "retrain" not in name}
    for method in ("unsir", "finetune"):
        make(tmp_path / "s", method, metrics={**alone, "retrain_acc_retain_test": None, "speedup_vs_retrain": None})
    said = report("s")
    words = {"claims": "no retrained reference was measured"}.get(
        report.command,  # type: ignore[attr-defined]
        "no retrained model was measured",
    )
    assert words in said


def test_a_retrained_model_that_some_seeds_lack_is_said(report: Report, tmp_path: Path) -> None:
    make(tmp_path / "s")
    make(tmp_path / "s", seed=1, metrics={name: value for name, value in METRICS.items() if "retrain" not in name})
    said = report("s")
    if report.command == "claims":  # type: ignore[attr-defined]
        assert "no retrained reference was measured" in said
    else:
        assert "no retrained model was measured for 1 of 2 runs" in said


def test_failed_diverged_and_skipped_runs_are_counted_beside_the_others(report: Report, tmp_path: Path) -> None:
    make(tmp_path / "s")
    for method, status in (("ssd", "skipped"), ("finetune", "failed"), ("neggrad", "diverged")):
        unfinished(tmp_path / "s", method, status)
    said = report("s")
    for status in ("skipped", "failed", "diverged"):
        assert f"1 {status}" in said
    if report.command != "figures":  # type: ignore[attr-defined]
        assert all(f"{method}-s0" in said for method in ("ssd", "finetune", "neggrad"))


def test_a_sweep_in_which_nothing_is_done_is_reported_as_such(report: Report, tmp_path: Path) -> None:
    for method, status in (("unsir", "failed"), ("fisher", "diverged"), ("ssd", "skipped")):
        unfinished(tmp_path / "s", method, status)
    said = report("s")
    assert all(f"1 {status}" in said for status in ("failed", "diverged", "skipped"))


def test_a_seed_that_failed_shrinks_n_and_is_shown_in_the_same_row(report: Report, tmp_path: Path) -> None:
    make(tmp_path / "s")
    make(tmp_path / "s", seed=1, status="failed", reason="out of memory", metrics={})
    said = report("s")
    assert "1 failed" in said
    if report.command != "claims":  # type: ignore[attr-defined]
        assert "n = 2" not in said


def test_a_done_run_without_any_metric_breaks_nothing(report: Report, tmp_path: Path) -> None:
    make(tmp_path / "s", metrics={})
    make(tmp_path / "s", "finetune")
    said = report("s")
    assert ("finetune" if report.command != "claims" else "**Runs.** 2 done") in said  # type: ignore[attr-defined]
