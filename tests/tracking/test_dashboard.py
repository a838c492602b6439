"""The dashboard: its panels name what records hold and what the tracker logs; written without a key, published with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from wandb_workspaces.reports.v2.internal import ReportViewspec
from wandb_workspaces.workspaces.internal import WorkspaceViewspec

from unsir_bench import compose
from unsir_bench.records import RunRecord
from unsir_bench.runner import run
from unsir_bench.tracking.dashboard import CURVES, build, main
from unsir_bench.tracking.tables import curves, tables

TINY = [
    "dataset.subset=15", "model.width=6", "train.epochs=10", "method.noise.steps=2", "method.noise.batch_size=8",
    "method.noise.copies=2", "metrics=standard", "metrics.relearn.cap=10", "tracker=none", "sweep=shown",
]  # fmt: skip


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """A run that measures all that `metrics=standard` does."""
    folder = tmp_path_factory.mktemp("shown")
    found = run(compose([*TINY, f"outputs={folder}", f"store.root={folder}/store"]))
    assert found.status == "done"
    found.write(folder / "shown" / found.run_id)
    return found


@pytest.fixture(scope="module")
def specifications() -> dict[str, Any]:
    return build("unsir-bench").specifications()


def values_at(specification: Any, key: str) -> Iterator[Any]:
    """What stands under a key, anywhere."""
    if isinstance(specification, dict):
        for name, value in specification.items():
            if name == key:
                yield value
            yield from values_at(value, key)
    elif isinstance(specification, list):
        for value in specification:
            yield from values_at(value, key)


def panels_of(specification: Any, kind: str) -> list[dict[str, Any]]:
    """The configurations of the panels of a kind."""
    panels = [panel for group in values_at(specification, "panels") if isinstance(group, list) for panel in group]
    return [panel["config"] for panel in panels if panel["viewType"] == kind]


@pytest.mark.parametrize("view", ["workspace", "report"])
def test_the_phases_of_other_methods_have_loss_panels_once_each(view: str) -> None:
    specification = build("unsir-bench", phases=["pull", "impair"]).specifications()[view]
    lines = [metric for panel in panels_of(specification, "Run History Line Plot") for metric in panel["metrics"]]
    assert lines.count("pull/loss") == lines.count("impair/loss") == lines.count("ascent/loss") == 1


@pytest.mark.parametrize("view", ["workspace", "report"])
def test_every_metric_of_a_panel_is_one_that_a_record_holds(
    view: str, specifications: dict[str, Any], record: RunRecord
) -> None:
    specification = specifications[view]
    scatters, bars = (panels_of(specification, kind) for kind in ("Scatter Plot", "Bar Chart"))
    assert len(scatters) == 3
    assert len(bars) >= 10
    named = [metric for panel in bars for metric in panel["metrics"]]
    named += [panel[axis].removeprefix("summary:") for panel in scatters for axis in ("xAxis", "yAxis")]
    pinned = {column for columns in values_at(specification, "columnPinned") for column in columns}
    named += [column.removeprefix("summary:") for column in pinned if column.startswith("summary:")]
    assert len(named) > 30
    assert [name for name in named if name not in record.metrics] == []


@pytest.mark.parametrize("view", ["workspace", "report"])
def test_every_curve_of_a_panel_is_one_that_the_tracker_logs(
    view: str, specifications: dict[str, Any], record: RunRecord
) -> None:
    logged = {f"{name}/{value}" for name, _, values in curves(record) for value in values}
    phases = {name for name, _, _ in curves(record)} | set(CURVES)
    panels = panels_of(specifications[view], "Run History Line Plot")
    named = {metric for panel in panels for metric in panel["metrics"]}
    assert {name for name in named if not name.endswith("/loss")} <= logged
    assert {panel["xAxis"] for panel in panels} <= {f"{phase}/step" for phase in phases}
    assert {name.removesuffix("_steps") for name in record.metrics if name.endswith("_steps")} - {"retrain"} <= set(
        CURVES
    )


@pytest.mark.parametrize("view", ["workspace", "report"])
def test_every_table_of_a_panel_is_logged_with_the_columns_it_draws(
    view: str, specifications: dict[str, Any], record: RunRecord
) -> None:
    logged = {f"{name}_table": table.columns for name, table in tables(record).items()}
    charts = panels_of(specifications[view], "Vega2")
    assert len(charts) == 4
    for chart in charts:
        [key] = {
            inner["value"]
            for query in values_at(chart["userQuery"], "args")
            for inner in query
            if inner["name"] == "tableKey"
        }
        assert set(chart["fieldSettings"].values()) <= set(logged[key]), key
    assert [panel["mediaKeys"] for panel in panels_of(specifications[view], "Media Browser")] == [["grad_cam"]]


def test_specifications_are_those_that_the_library_reads(specifications: dict[str, Any]) -> None:
    workspace = WorkspaceViewspec.model_validate(specifications["workspace"]["spec"])
    assert [key.name for key in workspace.section.run_sets[0].grouping] == ["group", "jobType"]
    assert len(workspace.section.panel_bank_config.sections) == 8
    report = specifications["report"]
    as_stored = {**report, "spec": json.dumps(report["spec"])}
    assert ReportViewspec.model_validate(as_stored).display_name == "Machine unlearning methods compared"


def test_panels_of_a_report_do_not_lie_on_each_other(specifications: dict[str, Any]) -> None:
    for grid in values_at(specifications["report"], "panelBankSectionConfig"):
        corners = [(panel["layout"]["x"], panel["layout"]["y"]) for panel in grid["panels"]]
        assert len(set(corners)) == len(corners)
        assert all(panel["layout"]["x"] + panel["layout"]["w"] <= 24 for panel in grid["panels"])


def dashboard(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: W&B keeps the first settings that a process saw."""
    return in_new_process("-m", "unsir_bench.tracking.dashboard", *map(str, words), **environment)


def in_new_process(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    surrounding = {**os.environ, "NETRC": "nowhere", "WANDB_API_KEY": "", **environment}
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=surrounding)


def test_without_a_key_both_are_written_for_the_sweeps_given(record: RunRecord, tmp_path: Path) -> None:
    sweeps = Path(record.config["outputs"])
    done = dashboard(sweeps, "--output", tmp_path, "--entity", "a-team")
    assert done.returncode == 0, done.stderr
    assert f"then: python -m unsir_bench.tracking.dashboard {sweeps} --output {tmp_path} --entity a-team" in done.stdout
    for name in ("workspace", "report"):
        specification = json.loads((tmp_path / f"{name}.json").read_text())
        filters = [each for each in values_at(specification, "filters") if isinstance(each, list)]
        assert filters
        for [chosen] in filters:
            assert (chosen["key"]["name"], chosen["op"], chosen["value"]) == ("group", "IN", ["shown"])
    assert json.loads((tmp_path / "workspace.json").read_text())["entity"] == "a-team"


def test_without_the_extra_one_line_says_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = [name for name in sys.modules if name.startswith("wandb_workspaces.")]
    for name in ["wandb_workspaces", *loaded]:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["--output", str(tmp_path)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "wandb_workspaces is not installed" in line and "pip install 'unsir-bench[report]'" in line


def test_a_mistyped_folder_beside_a_good_one_is_named(
    record: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record.write(tmp_path / record.sweep / record.run_id)
    assert main([str(tmp_path / record.sweep), str(tmp_path / "typo")]) == 2
    assert capsys.readouterr().out == f"no records in {tmp_path / 'typo'}\n"


def test_a_folder_without_records_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "no records in" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes projects and views as W&B does: its address, and the views it got."""
    views: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"data": answer_to(asked["query"], asked.get("variables") or {}, views)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.handle_error = lambda *_arguments: None  # type: ignore[method-assign] # clients hang up
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_address[1]}", views
    http.shutdown()
    http.server_close()


def reports_of(views: list[dict[str, Any]]) -> dict[str, Any]:
    dates = {"updatedAt": "2026-01-01T00:00:00Z", "createdAt": "2026-01-01T00:00:00Z"}
    nodes = [
        {key: view[key] for key in ("name", "displayName", "spec")}
        | dates
        | {"id": f"view{number}", "description": "Ours."}
        for number, view in enumerate(views, 1)
        if view["type"] == "runs"
    ]
    edges = [{"node": node, "cursor": "end"} for node in nodes]
    return {"edges": edges, "pageInfo": {"endCursor": "end", "hasNextPage": False}}


def answer_to(query: str, given: dict[str, Any], views: list[dict[str, Any]]) -> dict[str, Any]:
    if "upsertView" in query:
        views.append(given)
        project = {"id": "project", "name": given["projectName"], "entityName": given["entityName"]}
        kept = {key: given[key] for key in ("name", "displayName", "description", "spec", "type")}
        return {
            "upsertView": {
                "view": {"id": given.get("id") or f"view{len(views)}", **kept, "project": project},
                "inserted": True,
            }
        }
    if "allViews" in query:
        return {"project": {"allViews": reports_of(views)} if views else None}
    if "models(" in query:
        return {"models": {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}}
    person = {"id": "user", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
    return {"viewer": person} if "viewer" in query else {}


def test_with_a_key_both_are_published_and_their_addresses_printed(
    server: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    address, views = server
    done = dashboard("--project", "forgetting", "--output", tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY="k" * 40)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(view["type"], view["entityName"], view["projectName"]) for view in views] == [
        ("runs", "me", "forgetting"),
        ("project-view", "me", "forgetting"),
    ]
    assert f"report: {address}/me/forgetting/reports/" in done.stdout
    assert f"workspace: {address}/me/forgetting?nw=" in done.stdout
    assert "k" * 40 not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_published_again_the_report_keeps_its_address_and_description(
    server: tuple[str, list[dict[str, Any]]], record: RunRecord, tmp_path: Path
) -> None:
    address, views = server
    words = ["--project", "forgetting", "--output", str(tmp_path)]
    given = [words, words, [record.config["outputs"], *words]]  # the last of one sweep: another report
    done = in_new_process(
        "-c", f"from unsir_bench.tracking.dashboard import main; raise SystemExit(max(map(main, {given!r})))",
        WANDB_BASE_URL=address, WANDB_API_KEY="k" * 40,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, again, _ = (line for line in done.stdout.splitlines() if line.startswith("report:"))
    assert first == again
    *reports, last = (view for view in views if view["type"] == "runs")
    assert [(view["id"], view["description"]) for view in reports] == [(None, ""), ("view1", "Ours.")]
    assert (last["id"], last["displayName"]) == (None, "Machine unlearning methods compared: shown")


def test_long_lists_of_sweeps_that_begin_alike_have_reports_of_their_own() -> None:
    """W&B cuts a title at 128 letters, and a report of an equal title is replaced."""
    shared = [f"a_sweep_with_a_long_name_{number}" for number in range(6)]
    titles = [build("p", sweeps=[*shared, last]).report.title for last in ("x", "y", "x")]
    assert titles[0] == titles[2] != titles[1] and all(len(title) == 128 for title in titles)
    assert build("p", sweeps=["x", "y"]).report.title.endswith(": x, y")
