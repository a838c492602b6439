"""docs/add_a_method.md: its code is the example package's, its commands work, and the method stands in every report."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from unsir_bench.cli.plugins import VARIABLE
from unsir_bench.records import RunRecord, records_below
from unsir_bench.report import command as report
from unsir_bench.report.method_style import FAMILIES, method_style
from unsir_bench.tracking import dashboard
from unsir_bench.tracking.run import TrackerConfig, start_tracker

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "add_a_method.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "docs" / "examples" / "my_unlearning"
METHOD = "pull_to_mean"
SWEEP = Path("multirun_outputs") / "my_methods"
TINY = {"seed": "0", "dataset.subset": "15", "model.width": "4", "train.epochs": "2", "metrics": "fast",
        "tracker": "none"}  # fmt: skip


def files_of_the_document() -> dict[str, str]:
    """The text of each file that the document shows: a line with its name in code, and a block of code."""
    shown = re.findall(r"^`([\w./]+)`\n\n```\w+\n(.*?)^```", DOCUMENT, flags=re.M | re.S)
    assert len(shown) == len(dict(shown))
    return dict(shown)


def commands_of_the_document() -> list[list[str]]:
    """The words of each line of the blocks that say no language."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", DOCUMENT, flags=re.M | re.S)
    lines = [line for language, block in blocks if not language for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True)) and "/" not in words[0]]


def command(*start: str) -> list[str]:
    [words] = [words for words in commands_of_the_document() if tuple(words[: len(start)]) == start]
    return words


def shrunk(words: Sequence[str]) -> list[str]:
    """The same sweep in a moment."""
    return [*(word for word in words if word.split("=")[0] not in TINY), *(f"{k}={v}" for k, v in TINY.items())]


def environment(**changes: str) -> dict[str, str]:
    """This process's, without a plug-in that it names, changed."""
    own = {name: value for name, value in os.environ.items() if name not in (VARIABLE, "PYTHONPATH")}
    return {**own, "OMP_NUM_THREADS": "1", **changes}


def done(words: Sequence[str], folder: Path, surroundings: dict[str, str]) -> str:
    finished = subprocess.run(words, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    return finished.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package installed in a folder of its own, from a copy, since building it leaves files beside it."""
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    *words, given = command("python", "-m", "pip")
    assert given == "docs/examples/my_unlearning"
    words = [sys.executable, *words[1:]]
    words.remove("--editable")  # it would change this environment
    offline = ["--quiet", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done([*words, *offline, "--target", str(folder / "site"), str(source)], folder, environment())
    return folder / "site"


@pytest.fixture(scope="module")
def place(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the document's sweep was done, the package being installed."""
    folder = tmp_path_factory.mktemp("place")
    words = [sys.executable, "-m", "unsir_bench", *shrunk(command("unsir-bench", "-m", "method=" + methods())[1:])]
    done(words, folder, environment(PYTHONPATH=os.pathsep.join([str(installed), str(ROOT)])))
    return folder


def methods() -> str:
    [found] = re.findall(r"^unsir-bench -m method=(\S+)", DOCUMENT, flags=re.M)
    return found


@pytest.fixture
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def record(place: Path) -> RunRecord:
    [found] = [record for _, record in records_below(place / SWEEP) if record.method == METHOD]
    return found


def reported(name: str) -> Path:
    """Run the document's command of `unsir-report` in this process; returns the folder it wrote to."""
    with pytest.raises(SystemExit) as ended:
        report.main(command("unsir-report", name)[1:])
    assert ended.value.code == 0
    return report.REPORT


def test_the_documents_code_is_that_of_the_package() -> None:
    shown = files_of_the_document()
    assert {name: (PACKAGE / name).read_text(encoding="utf-8") for name in shown} == shown
    kinds = (path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".yaml", ".toml"))
    there = {path.relative_to(PACKAGE).as_posix() for path in kinds if "tests" not in path.parts}
    assert there == {*shown, "my_unlearning/conf/__init__.py"}


def test_the_method_runs_from_an_installed_package_and_reads_what_it_declares(record: RunRecord) -> None:
    assert record.status == "done", record.error
    assert record.access["declared"] == ["retain_subset"]
    assert record.access["forget"] == {"samples": 0, "reads": 0}
    assert record.access["retain"]["samples"] == 9 * 15
    assert record.metrics["repair_steps"] > 0 and record.metrics["pull_seconds"] > 0


def test_it_has_a_row_in_the_sweeps_own_tables(place: Path) -> None:
    lines = (place / SWEEP / "table.md").read_text(encoding="utf-8").splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    order = [row[head.index("method")] for row in rows]
    assert order[-1] == METHOD, "after those of this repository"
    assert sorted(order) == sorted(["original", *methods().split(",")])
    [own] = [row for row in rows if METHOD in row]
    assert "– / subset / –" in own
    assert METHOD in set(pd.read_csv(place / SWEEP / "results.csv")["method"])
    assert METHOD in (place / SWEEP / "verdicts.md").read_text(encoding="utf-8")


def test_it_has_a_row_in_the_tables_of_the_report(in_place: Path) -> None:
    folder = reported("tables")
    comparison = [path for path in folder.rglob("*.md") if METHOD in path.read_text(encoding="utf-8")]
    assert comparison
    latex = [path.read_text(encoding="utf-8") for path in folder.rglob("*.tex")]
    assert any(METHOD.replace("_", r"\_") in text for text in latex)
    runs = [frame for path in folder.rglob("*.csv") if "run_id" in (frame := pd.read_csv(path))]
    assert runs and all(METHOD in set(frame["method"]) for frame in runs)


def test_it_has_a_point_in_a_figure(in_place: Path, record: RunRecord) -> None:
    [path] = (reported("figures") / "figures").rglob("trade_off-*.csv")
    [row] = pd.read_csv(path).query("method == @METHOD").to_dict("records")
    assert row["a_df_percent"] == pytest.approx(100 * record.metrics["acc_forget_test"])
    assert row["a_dr_percent"] == pytest.approx(100 * record.metrics["acc_retain_test"])
    assert path.with_suffix(".pdf").is_file()


def test_it_stands_on_the_page_in_its_own_colour_and_marker(in_place: Path, record: RunRecord) -> None:
    page = (reported("html") / "report.html").read_text(encoding="utf-8")
    assert record.run_id in page
    style = method_style(METHOD)
    traces = [trace for trace in traces_of(page) if trace.get("name") == METHOD and "marker" in trace]
    assert traces
    assert {trace["marker"]["color"] for trace in traces} == {style.color}
    assert {trace["marker"]["symbol"] for trace in traces} == {style.symbol}


def traces_of(page: str) -> Iterator[dict[str, Any]]:
    """Every trace of the plots on a page: plots lie on it as JSON."""
    decoder = json.JSONDecoder()
    for start in re.finditer(r'"data":\[\{', page):
        found, _ = decoder.raw_decode(page, start.end() - 2)
        yield from (trace for trace in found if isinstance(trace, dict))


def test_its_marker_is_that_of_no_method_of_this_repository() -> None:
    style = method_style(METHOD)
    assert re.fullmatch("#[0-9A-F]{6}", style.color) and style.marker
    ours = [method_style(name) for family in FAMILIES.values() for name in family]
    assert len(ours) > 20
    assert (style.symbol, style.marker) not in {(other.symbol, other.marker) for other in ours}


def test_the_claims_of_the_paper_are_judged_without_it(in_place: Path) -> None:
    claims = json.loads((reported("claims") / "claims.json").read_text(encoding="utf-8"))
    assert claims
    assert METHOD not in {finding.get("method") for finding in values_of(claims) if isinstance(finding, dict)}


def values_of(node: Any) -> Iterator[Any]:
    yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from values_of(value)


def test_the_dashboard_groups_its_runs_by_its_name(
    in_place: Path, record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "login_problem", lambda: "no key here")  # with one it would publish
    assert dashboard.main(command("python", "-m", "unsir_bench.tracking.dashboard")[3:]) == 0
    specification = json.loads(Path("multirun_outputs/dashboard/workspace.json").read_text(encoding="utf-8"))
    nodes = [node for node in values_of(specification) if isinstance(node, dict)]
    assert any(node.get("value") == [SWEEP.name] for node in nodes), "its sweep is shown"
    panels = [node["config"] for node in nodes if node.get("viewType") in ("Bar Chart", "Run History Line Plot")]
    assert len(panels) > 15
    assert {json.dumps(panel["groupBy"]) for panel in panels} == {json.dumps("jobType")}
    shown = {metric for panel in panels for metric in panel["metrics"]}
    assert {"repair/loss", "acc_forget_test", "unlearn_seconds"} <= shown
    assert logged_as(record, in_place, monkeypatch)["job_type"] == METHOD


def logged_as(record: RunRecord, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Weights & Biases is told of a run when it starts."""
    told: dict[str, Any] = {}

    def init(**settings: Any) -> None:
        told.update(settings)
        raise ConnectionError("enough")

    monkeypatch.setattr("wandb.init", init)
    start_tracker(TrackerConfig(), record, folder / "wandb")
    return told


def test_its_own_tests_pass_with_the_package_on_the_path(tmp_path: Path) -> None:
    exported = dict(word.split("=") for word in command("export")[1:])
    assert set(exported) == {"PYTHONPATH", VARIABLE}
    exported["PYTHONPATH"] = os.pathsep.join([str(ROOT / exported["PYTHONPATH"]), str(ROOT)])
    words = [sys.executable, *command("python", "-m", "pytest")[1:], "-q", "-n", "0", "-p", "no:cacheprovider"]
    printed = done([*words, "--basetemp", str(tmp_path / "runs")], ROOT, environment(**exported))
    assert re.search(r"^1[0-9] passed", printed, flags=re.M) and "skipped" not in printed


def test_the_refusal_that_the_document_quotes_is_the_one_that_its_tests_expect() -> None:
    [quoted] = re.findall(r"^```text\n(.*)\n```", DOCUMENT, flags=re.M)
    expected = (PACKAGE / "tests" / "test_pull_to_mean.py").read_text(encoding="utf-8")
    assert quoted in "".join(re.findall(r'^ +"(AccessDenied.*|a method.*)"$', expected, flags=re.M))
