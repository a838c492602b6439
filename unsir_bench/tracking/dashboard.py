"""`make dashboard`: a workspace and a report of Weights & Biases that compare methods, by the library wandb-workspaces.

Without an API key both are written as the library serialises them; with one they are published. Panels name metrics as
records do (docs/metrics.md), and curves as `unsir_bench/tracking/run.py` logs them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsir_bench.records import RunRecord, printable, records_below
from unsir_bench.runtime.extras import absent_package
from unsir_bench.runtime.files import write_atomic
from unsir_bench.tracking.run import LOGIN_HINT, login_problem
from unsir_bench.tracking.tracker_config import TrackerConfig, without_passwords

NAME = "Machine unlearning methods compared"
COLUMNS = ("acc_forget_test", "acc_retain_test", "gap_acc_forget_test", "gap_acc_retain_test", "tow", "unlearn_seconds",
           "speedup_vs_retrain")  # fmt: skip
CURVES = ("noise", "impair", "repair", "finetune", "train", "ascent")
LONGEST_TITLE = 128  # characters of a report's title, for W&B
PER_ROW, PANEL_WIDTH, PANEL_HEIGHT = 2, 12, 8  # a report's grid is 24 columns wide


@dataclass(frozen=True)
class Dashboard:
    """Both views of one project.

    Attributes:
        workspace: a `wandb_workspaces.workspaces.Workspace`.
        report: a `wandb_workspaces.reports.v2.Report`.
    """

    workspace: Any
    report: Any

    def specifications(self) -> dict[str, Any]:
        """What the library sends to W&B, by the name of its file, as plain values."""
        views = {"workspace": self.workspace, "report": self.report}
        return {
            name: view._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
            for name, view in views.items()
        }

    def publish(self) -> dict[str, str]:
        """Save both; returns their addresses. The report first, since it makes a project that does not exist.

        A report of the same title is replaced; its address and description stay.
        """
        if (existing := _existing_report(self.report)) is not None:
            self.report.id, self.report.description = existing.id, existing.description or ""
        self.report.save()
        self.workspace.save()
        return {"report": self.report.url, "workspace": self.workspace.url}


def _existing_report(report: Any) -> Any | None:
    """The report of this title in its project, of several the one changed last; None: there is none, or no project."""
    import wandb

    try:
        found = wandb.Api().reports(f"{report.entity}/{report.project}")
        return max(
            (each for each in found if each.display_name == report.title),
            key=lambda each: str(each.updated_at),
            default=None,
        )
    except ValueError:  # no such project
        return None


def sections(phases: Sequence[str] = ()) -> dict[str, tuple[str, list[Any]]]:
    """Panels by section, each section with a sentence that says how to read it.

    Args:
        phases: whose loss has a panel, beside those of the methods here.
    """
    curves = dict.fromkeys([*CURVES, *phases])
    return {
        "Retain against forget accuracy": (
            "Good is what retraining gives: the method's point should lie where retrain's lies, gaps at zero.",
            _accuracy_panels(),
        ),
        "Cost": (
            "Speed-up is the retraining's time divided by the method's, of the same sweep.",
            [
                _bars("speed-up against retraining", "speedup_vs_retrain"),
                _bars("seconds", "unlearn_seconds", "retrain_seconds"),
                _bars("peak memory, bytes", "peak_memory_bytes"),
                _bars("forget and retain samples touched", "forget_samples_touched", "retain_samples_touched"),
            ],
        ),
        "Weights": (
            "Distance of the unlearned weights, by layer from input to output, and over all relative to the original.",
            [
                _line("distance to the original, by layer", "layers", "distance_to_original"),
                _line("distance to the retrained model, by layer", "layers", "distance_to_retrain"),
                _bars(
                    "relative distance", "weight_distance_to_original_relative", "weight_distance_to_retrain_relative"
                ),
            ],
        ),
        "Relearning": (
            "A model that relearns the forgotten classes much faster than a retrained one had not forgotten them.",
            [
                _bars("batches to relearn", "relearn_batches", "retrain_relearn_batches"),
                _bars("anamnesis index", "anamnesis_index"),
                _line("accuracy on forgotten classes against batches", "relearn", "accuracy", "retrain_accuracy"),
            ],
        ),
        "What is left of the forgotten classes": (
            "Each against the retrained model's value.",
            [
                _bars("membership inference, accuracy", "mia_loss_accuracy", "retrain_mia_loss_accuracy"),
                _bars("linear probe of features, AUC", "probe_linear_auc", "retrain_probe_linear_auc"),
                _bars("zero retrain forgetting", "zrf", "retrain_zrf"),
                _bars("Jensen-Shannon divergence to retrain", "js_to_retrain_forget", "js_to_retrain_retain"),
            ],
        ),
        "By class": ("Of the runs selected.", _table_panels()),
        "Grad-CAM": ("Image, and the maps of the original, the retrained and the unlearned model.", _map_panels()),
        "Training curves": ("Loss by phase.", [_line(f"loss: {phase}", phase, "loss") for phase in curves]),
    }


def _accuracy_panels() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    pairs = {
        "accuracy on test data": ("acc_forget_test", "acc_retain_test"),
        "gap to retrain": ("gap_acc_forget_test", "gap_acc_retain_test"),
        "accuracy on training data": ("acc_forget_train", "acc_retain_train"),
    }
    scatters = [
        wr.ScatterPlot(title=title, x=wr.SummaryMetric(forget), y=wr.SummaryMetric(retain))
        for title, (forget, retain) in pairs.items()
    ]
    return [*scatters, _bars("accuracy on test data", "acc_forget_test", "acc_retain_test")]


def _bars(title: str, *metrics: str) -> Any:
    """Means of the runs of each method."""
    import wandb_workspaces.reports.v2 as wr

    return wr.BarPlot(
        title=title, metrics=list(metrics), groupby="JobType", groupby_aggfunc="mean", groupby_rangefunc="stddev"
    )


def _line(title: str, curve: str, *values: str) -> Any:
    """Mean curves of the runs of each method."""
    import wandb_workspaces.reports.v2 as wr

    metrics = [f"{curve}/{value}" for value in values]
    return wr.LinePlot(
        title=title, x=f"{curve}/step", y=metrics, groupby="JobType", groupby_aggfunc="mean", groupby_rangefunc="minmax"
    )


def _table_panels() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    lines = {
        "accuracy_by_class": ("class", "accuracy", "line"),
        "forget_predictions": ("class", "share", "model"),
        "weight_distance": ("depth", "distance", "line"),
        "relearn_curve": ("batches", "accuracy", "model"),
    }
    return [
        wr.CustomChart(
            query={"summaryTable": {"tableKey": f"{name}_table"}},
            chart_name="wandb/line/v0",
            chart_fields=dict(zip(("x", "y", "stroke"), columns, strict=True)),
            chart_strings={"title": name.replace("_", " ")},
        )
        for name, columns in lines.items()
    ]


def _map_panels() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [wr.MediaBrowser(title="Grad-CAM", media_keys=["grad_cam"], num_columns=2)]


def build(project: str, entity: str = "", sweeps: Sequence[str] = (), phases: Sequence[str] = ()) -> Dashboard:
    """Both views, made without a network.

    Args:
        project: of the runs.
        entity: team or user; empty: not known yet.
        sweeps: the groups to show; none: all.
        phases: see ``sections``.
    """
    chosen = f"Group in {json.dumps(list(sweeps))}" if sweeps else ""
    report = _report(project, entity, chosen, phases)
    report.title = _title(sweeps)
    return Dashboard(_workspace(project, entity, chosen, phases), report)


def _title(sweeps: Sequence[str]) -> str:
    """The name and the sweeps; a cut one ends with a hash of all, since a report of an equal title is replaced."""
    whole = ": ".join([NAME, *([", ".join(sweeps)] if sweeps else [])])
    if len(whole) <= LONGEST_TITLE:
        return whole
    mark = f"… {hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return whole[: LONGEST_TITLE - len(mark)] + mark


def _workspace(project: str, entity: str, chosen: str, phases: Sequence[str]) -> Any:
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            ws.Section(name=title, panels=panels, is_open=True) for title, (_, panels) in sections(phases).items()
        ],
        runset_settings=ws.RunsetSettings(
            filters=chosen,
            groupby=[expr.Metric("Group"), expr.Metric("JobType")],
            pinned_columns=[f"summary:{metric}" for metric in COLUMNS],
        ),
    )


def _report(project: str, entity: str, chosen: str, phases: Sequence[str]) -> Any:
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [wr.TableOfContents()]
    for title, (sentence, panels) in sections(phases).items():
        # Without entity and project a run set is of the report's own project, and needs no network.
        runs = wr.Runset(
            name="runs by sweep and method",
            filters=chosen,
            groupby=["Group", "JobType"],
            pinned_columns=[f"summary:{metric}" for metric in COLUMNS],
        )
        blocks += [wr.H2(title), wr.P(sentence), wr.PanelGrid(runsets=[runs], panels=_placed(panels))]
    return wr.Report(project=project, entity=entity, title=NAME, blocks=blocks, width="fluid")


def _placed(panels: Iterable[Any]) -> list[Any]:
    """The panels on the grid of a report, so many to a row."""
    import wandb_workspaces.reports.v2 as wr

    placed = list(panels)
    for place, panel in enumerate(placed):
        row, column = divmod(place, PER_ROW)
        panel.layout = wr.Layout(x=column * PANEL_WIDTH, y=row * PANEL_HEIGHT, w=PANEL_WIDTH, h=PANEL_HEIGHT)
    return placed


def main(argv: Sequence[str] | None = None) -> int:
    """Write or publish the dashboard.

    Returns:
        Exit status: 0, 1 if publishing failed or the extra is absent, 2 if a folder holds no record.
    """
    words = sys.argv[1:] if argv is None else argv
    given = _parser().parse_args(words)
    found = {folder: _records(folder) for folder in given.folders}
    if empty := [str(folder) for folder, records in found.items() if not records]:
        print(f"no records in {', '.join(empty)}")
        return 2
    try:
        return _made([record for records in found.values() for record in records], given, words)
    except ModuleNotFoundError as error:
        if (absent := absent_package(error)) is None:
            raise
        print(absent, file=sys.stderr)
        return 1


def _made(records: Sequence[RunRecord], given: argparse.Namespace, words: Sequence[str]) -> int:
    project, entity = _place(given.project, given.entity, records)
    sweeps = sorted({record.sweep for record in records})
    phases = sorted(
        {name.removesuffix("_steps") for record in records for name in record.metrics if name.endswith("_steps")}
    )
    problem = login_problem()
    if problem is None:
        return _publish(project, entity, sweeps, phases)
    _write(build(project, entity, sweeps, phases), given.output)
    again = " ".join(["python -m unsir_bench.tracking.dashboard", *words])
    print(f"not published ({problem}): {LOGIN_HINT}, then: {again}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m unsir_bench.tracking.dashboard", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "folders", nargs="*", type=Path, metavar="FOLDER", help="show these sweeps only (default: all of the project)"
    )
    parser.add_argument("--project", help="of W&B (default: the one the records name, else unsir-bench)")
    parser.add_argument("--entity", help="team or user (default: the one the records name, else yours)")
    parser.add_argument(
        "--output", type=Path, default=Path("multirun_outputs/dashboard"), metavar="DIR",
        help="where the specifications are written without a key (default: multirun_outputs/dashboard)",
    )  # fmt: skip
    return parser


def _records(folder: Path) -> list[RunRecord]:
    """The records of a sweep, or of all sweeps in a folder."""
    return [record for place in (folder, *sorted(folder.glob("*/"))) for _, record in records_below(place)]


def _place(project: str | None, entity: str | None, records: Sequence[RunRecord]) -> tuple[str, str]:
    """Project and entity: as given, else as the first record's tracker was set."""
    logged = records[0].config.get("tracker", {}) if records else {}
    return (
        project or logged.get("project") or TrackerConfig().project,
        entity or logged.get("entity") or "",
    )


def _write(dashboard: Dashboard, output: Path) -> None:
    for name, specification in dashboard.specifications().items():
        path = output / f"{name}.json"
        write_atomic(path, json.dumps(specification, indent=2) + "\n")
        print(f"written: {path}")


def _publish(project: str, entity: str, sweeps: Sequence[str], phases: Sequence[str]) -> int:
    import wandb

    try:
        owner = entity or wandb.Api().default_entity or ""
        for name, address in build(project, owner, sweeps, phases).publish().items():
            print(f"{name}: {address}")
    except Exception as error:  # the library raises whatever the network does
        print(printable(f"publishing failed: {type(error).__name__}: {without_passwords(str(error))}"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
