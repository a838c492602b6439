"""docs/add_a_method.md: its code is the example package's, its commands work, and the method stands in every report."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.cli.page import ROOT, VARIABLE, Page, done, environment, shrunk
from unsir_bench.records import RunRecord, records_below
from unsir_bench.report import command as report
from unsir_bench.report.method_style import FAMILIES, method_style
from unsir_bench.tracking import dashboard
from unsir_bench.tracking.run import start_tracker
from unsir_bench.tracking.tracker_config import TrackerConfig

pytestmark = pytest.mark.slow

PAGE = Page("docs/add_a_method.md")
PACKAGE = ROOT / "docs" / "examples" / "my_unlearning"
METHOD = "pull_to_mean"
SWEEP = Path("multirun_outputs") / "my_methods"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package installed in a folder of its own, from a copy, since building it leaves files beside it."""
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    *words, given = PAGE.command("python", "-m", "pip")
    assert given == "docs/examples/my_unlearning"
    words.remove("--editable")  # it would change this environment
    offline = ["--quiet", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done([*words, *offline, "--target", str(folder / "site"), str(source)], folder, environment())
    return folder / "site"


@pytest.fixture(scope="module")
def place(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's sweep was done, the package being installed."""
    folder = tmp_path_factory.mktemp("place")
    words = shrunk(PAGE.command("unsir-bench", "-m", f"method={methods()}"), model__width="4")
    done(words, folder, environment(PYTHONPATH=os.pathsep.join([str(installed), str(ROOT)])))
    return folder


def methods() -> str:
    [found] = re.findall(r"^unsir-bench -m method=(\S+)", PAGE.text, flags=re.M)
    return found


@pytest.fixture
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def record(place: Path) -> RunRecord:
    [found] = [record for _, record in records_below(place / SWEEP) if record.method == METHOD]
    return found


@pytest.fixture
def reported(in_place: Path) -> Path:
    """The folder that the page's `unsir-report all` writes to."""
    if not report.REPORT.exists():
        with pytest.raises(SystemExit) as ended:
            report.main(PAGE.command("unsir-report", "all")[1:])
        assert ended.value.code == 0
    return report.REPORT


@pytest.mark.parametrize("page", ["docs/add_a_method.md", "docs/add_a_metric.md"])
def test_the_pages_code_is_that_of_the_package(page: str) -> None:
    shown = Page(page).files
    assert shown
    assert {name: (PACKAGE / name).read_text(encoding="utf-8") for name in shown} == shown


def test_the_method_runs_from_an_installed_package_and_reads_what_it_declares(record: RunRecord) -> None:
    assert record.status == "done", record.error
    assert record.access["declared"] == ["retain_subset"]
    assert record.access["forget"] == {"samples": 0, "reads": 0}
    assert record.access["retain"]["samples"] == 9 * 15
    assert record.metrics["repair_steps"] > 0 and record.metrics["pull_seconds"] > 0


def test_it_has_a_row_in_the_sweeps_own_tables(place: Path) -> None:
    lines = (place / SWEEP / "table.md").read_text(encoding="utf-8").splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines if line[:1] == "|"]
    order = [row[head.index("method")] for row in rows]
    assert order[-1] == METHOD, "after those of this repository"
    assert sorted(order) == sorted(["original", *methods().split(",")])
    [own] = [row for row in rows if METHOD in row]
    assert "– / subset / –" in own
    assert METHOD in set(pd.read_csv(place / SWEEP / "results.csv")["method"])
    assert METHOD in (place / SWEEP / "verdicts.md").read_text(encoding="utf-8")


def test_it_has_a_row_in_the_tables_of_the_report(reported: Path) -> None:
    comparison = [path for path in reported.rglob("*.md") if METHOD in path.read_text(encoding="utf-8")]
    assert comparison
    latex = [path.read_text(encoding="utf-8") for path in reported.rglob("*.tex")]
    assert any(METHOD.replace("_", r"\_") in text for text in latex)
    runs = [frame for path in reported.rglob("*.csv") if "run_id" in (frame := pd.read_csv(path))]
    assert runs and all(METHOD in set(frame["method"]) for frame in runs)


def test_it_has_a_point_in_a_figure(reported: Path, record: RunRecord) -> None:
    [path] = (reported / "figures").rglob("trade_off-*.csv")
    [row] = pd.read_csv(path).query("method == @METHOD").to_dict("records")
    assert row["a_df_percent"] == pytest.approx(100 * record.metrics["acc_forget_test"])
    assert row["a_dr_percent"] == pytest.approx(100 * record.metrics["acc_retain_test"])
    assert path.with_suffix(".pdf").is_file()


def test_it_stands_on_the_page_in_its_own_colour_and_marker(reported: Path, record: RunRecord) -> None:
    page = (reported / "report.html").read_text(encoding="utf-8")
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


def test_the_claims_of_the_paper_are_judged_without_it(reported: Path) -> None:
    claims = json.loads((reported / "claims.json").read_text(encoding="utf-8"))
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
    assert dashboard.main([str(SWEEP)]) == 0
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
    exported = PAGE.exported
    assert set(exported) == {"PYTHONPATH", VARIABLE}
    exported["PYTHONPATH"] = os.pathsep.join([str(ROOT / exported["PYTHONPATH"]), str(ROOT)])
    words = [*PAGE.command("python", "-m", "pytest"), "-q", "-n", "0", "-p", "no:cacheprovider"]
    printed = done([*words, "--basetemp", str(tmp_path / "runs")], ROOT, environment(**exported))
    assert re.search(r"^1[0-9] passed", printed, flags=re.M) and "skipped" not in printed
