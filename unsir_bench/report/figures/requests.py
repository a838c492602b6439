"""Figure: accuracy, attack and seconds after each of several forgetting requests, a line per method."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from unsir_bench.report.figures.data import Drawing, Kind, Scene
from unsir_bench.report.figures.style import legend_below, new_figure
from unsir_bench.report.method_style import BLACK, method_style
from unsir_bench.report.plots.parts import PERCENT
from unsir_bench.report.requests import request_table

PANELS = {
    "acc_retain_test": (r"$A_{\mathrm{Dr}}$, %", PERCENT),
    "mia_loss_accuracy": ("attack, %", PERCENT),
    "seconds_so_far": ("seconds so far", 1.0),
}
RETRAINED = {
    "acc_retain_test": "retrain_acc_retain_test",
    "mia_loss_accuracy": "retrain_mia_loss_accuracy",
    "seconds_so_far": "retrain_seconds",
}


def draw(scene: Scene) -> Iterator[Drawing]:
    """Means over seeds against the requests served; dashed, the model retrained once without all that is gone."""
    courses = {label: _means(rows) for label, rows in _by_label(scene).items()}
    shown = [name for name in PANELS if any(course[name].notna().any() for course in courses.values())]
    if not shown:
        return
    counts = [int(course["n"].max()) for course in courses.values()]
    figure = new_figure(1.0 + 1.1 * len(shown), scene.title(counts, "dashed: retrained", scene.control_note))
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for panel, name in zip(panels, shown, strict=True):
        _draw_panel(panel, name, courses)
    panels[-1].set_xlabel("requests served")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, panels[0].get_lines()[: len(courses)], [scene.marked(label) for label in courses])
    yield Drawing("requests", figure, pd.concat([c.assign(method=label) for label, c in courses.items()]))


def _by_label(scene: Scene) -> dict[str, pd.DataFrame]:
    labels = {run.record.run_id: run.label for run in scene.runs()}
    table = request_table([run.record for run in scene.runs()])
    named = table.assign(label=table["run"].map(labels))
    return {str(label): rows for label, rows in named.groupby("label", sort=False)}


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    by_request = rows.groupby("request")
    columns = [*PANELS, *RETRAINED.values(), "samples"]
    return (
        by_request[columns]
        .mean()
        .assign(n=by_request["seed"].nunique(), base=by_request["method"].first())
        .reset_index()
    )


def _draw_panel(panel: Axes, name: str, courses: dict[str, pd.DataFrame]) -> None:
    title, scale = PANELS[name]
    for course in courses.values():
        style = method_style(course["base"].iloc[0])
        panel.plot(course["request"], scale * course[name], color=style.color, marker="o", markersize=3)
    retrained = pd.concat(courses.values()).groupby("request")[RETRAINED[name]].mean()
    if retrained.notna().any():
        panel.plot(retrained.index, scale * retrained, color=BLACK, linestyle="--", linewidth=0.8)
    panel.set_ylabel(title, parse_math=True)


REQUESTS = Kind("requests", draw, "runs of several requests (forget.sequence)")
