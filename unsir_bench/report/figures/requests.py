"""Figure: accuracy, attack and seconds after each of several forgetting requests, a line per method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from unsir_bench.report.figures.data import Drawing, Kind, Scene
from unsir_bench.report.figures.style import legend_below, new_figure, tones
from unsir_bench.report.method_style import BLACK, method_style
from unsir_bench.report.plots.parts import PERCENT
from unsir_bench.report.requests import request_table
from unsir_bench.report.seeds import one_per_seed

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
    """Means over seeds against the requests served; dashed, the model retrained once without all that is gone.

    Each set of conditions has its own dashed line.
    """
    table = _labelled(scene)
    courses = {str(label): _means(rows) for label, rows in table.groupby("label", sort=False)}
    shown = [name for name in PANELS if any(course[name].notna().any() for course in courses.values())]
    if not shown:
        return
    retrained = [_retrained(rows) for _, rows in table.groupby("experiment", sort=False)]
    counts = [int(course["n"].max()) for course in courses.values()]
    apart = scene.timed_apart if "seconds_so_far" in shown else ""
    figure = new_figure(1.0 + 1.1 * len(shown), scene.title(counts, "dashed: retrained", apart, scene.control_note))
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for panel, name in zip(panels, shown, strict=True):
        _draw_panel(panel, name, courses, retrained)
    panels[-1].set_xlabel("requests served")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, panels[0].get_lines()[: len(courses)], [scene.marked(label) for label in courses])
    yield Drawing("requests", figure, pd.concat([c.assign(method=label) for label, c in courses.items()]))


def _labelled(scene: Scene) -> pd.DataFrame:
    """``request_table`` of the finished runs, with the ``label`` and the ``experiment`` of each."""
    runs = {run.record.run_id: run for run in scene.runs()}
    table = request_table([run.record for run in runs.values()])
    return table.assign(
        label=[runs[name].label for name in table["run"]],
        experiment=[" ".join(runs[name].experiment) for name in table["run"]],
    )


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds after each request of one series."""
    seeds = pd.concat([one_per_seed(points).assign(request=place) for place, points in rows.groupby("request")])
    by_request = seeds.groupby("request")
    columns = [*PANELS, *RETRAINED.values(), "samples"]
    return (
        by_request[columns]
        .mean()
        .assign(n=by_request["seed"].nunique(), base=by_request["method"].first())
        .reset_index()
    )


def _retrained(rows: pd.DataFrame) -> pd.DataFrame:
    """The retrained model's means after each request; each seed's counts once, however many runs measured it."""
    by_seed = rows.groupby(["request", "seed"])[list(RETRAINED.values())].mean()
    return by_seed.groupby("request").mean()


def _draw_panel(panel: Axes, name: str, courses: Mapping[str, pd.DataFrame], retrained: Sequence[pd.DataFrame]) -> None:
    title, scale = PANELS[name]
    methods = [str(course["base"].iloc[0]) for course in courses.values()]
    for course, method, color in zip(courses.values(), methods, tones(methods), strict=True):
        look: dict[str, Any] = {"color": color, "marker": method_style(method).marker, "markersize": 3}
        panel.plot(course["request"], scale * course[name], **look)
    for means in retrained:
        if (values := means[RETRAINED[name]]).notna().any():
            panel.plot(values.index, scale * values, color=BLACK, linestyle="--", linewidth=0.8)
    panel.set_ylabel(title, parse_math=True)


REQUESTS = Kind("requests", draw, "runs of several requests (forget.sequence)")
