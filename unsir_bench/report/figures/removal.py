"""Figure: the gradient residual of certified removal against the number of removed samples, with the budget line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from unsir_bench.records import REMOVAL_FILE
from unsir_bench.report.figures.data import Arrays, Drawing, Kind, Run, Scene, require
from unsir_bench.report.figures.style import legend_below, new_figure, plain_numbers
from unsir_bench.report.method_style import GREY, method_style

FIELDS = ("samples", "bound", "residual")
TO_SEE = "a line per {}; where the bound crosses the budget a retrain is due"


@dataclass(frozen=True)
class Course:
    """What one run kept, a row after each step, and from its guarantees the budget and what its residual costs.

    Attributes:
        points: columns ``samples``, ``bound``, ``residual``.
        budget: the largest bound allowed.
        epsilon: of the certificate that sets the budget.
    """

    points: pd.DataFrame
    budget: float
    epsilon: float


def draw(scene: Scene) -> Iterator[Drawing]:
    """One figure per method and setting: bound and residual norm of each run, epsilon on the axis at the right."""
    by_label: dict[str, list[tuple[Run, Course]]] = {}
    for run, course in scene.beside(REMOVAL_FILE, _parsed):
        by_label.setdefault(run.label, []).append((run, course))
    for label, members in by_label.items():
        seeds = len({run.record.seed for run, _ in members})
        title = scene.title([seeds], label, TO_SEE.format("seed" if seeds == len(members) else "run"))
        figure = new_figure(2.6, title)
        panel = figure.subplots()
        _draw_courses(panel, members)
        color = method_style(members[0][0].record.method).color
        lines = [Line2D([], [], color=color), Line2D([], [], color=color, linestyle=":")]
        legend_below(
            figure, [*lines, Line2D([], [], color=GREY, linestyle="--")], ["proved bound", "residual norm", "budget"]
        )
        yield Drawing(f"removal-{label}", figure, _table(members))


def _parsed(run: Run, arrays: Arrays) -> Course:
    require(arrays, dict.fromkeys(FIELDS, (None,)))
    points = pd.DataFrame({name: arrays[name].astype(float) for name in FIELDS})
    budget = run.record.guarantees.get("residual_budget")
    epsilon = run.record.config.get("method", {}).get("epsilon")
    if not budget or not isinstance(epsilon, int | float) or epsilon <= 0:
        raise ValueError("its record states no residual_budget or no method.epsilon")
    if (points.drop(columns="samples") < 0).any(axis=None) or not points["samples"].is_monotonic_increasing:
        raise ValueError("it holds negative norms, or numbers of samples that fall")
    return Course(points, float(budget), float(epsilon))


def _draw_courses(panel: Axes, members: Sequence[tuple[Run, Course]]) -> None:
    panel.set_yscale("log")
    for run, course in members:
        color, points = method_style(run.record.method).color, course.points
        removed = points[points["samples"] > 0]
        alone = "." if len(removed) == 1 else ""
        panel.plot(removed["samples"], removed["bound"], color=color, linewidth=0.8, marker=alone)
        panel.plot(removed["samples"], removed["residual"], color=color, linewidth=0.8, linestyle=":", marker=alone)
        panel.axhline(course.budget, color=GREY, linestyle="--", linewidth=0.8)
    panel.set_xlabel("removed samples")
    panel.set_ylabel("gradient norm")
    plain_numbers(panel.yaxis)
    first = members[0][1]
    by_budget = first.epsilon / first.budget
    costs = panel.secondary_yaxis(
        "right", functions=(lambda norm: np.multiply(norm, by_budget), lambda epsilon: np.divide(epsilon, by_budget))
    )
    costs.set_ylabel("ε that it costs")
    plain_numbers(costs.yaxis)


def _table(members: Sequence[tuple[Run, Course]]) -> pd.DataFrame:
    return pd.concat(
        [
            course.points.assign(
                method=run.label, seed=run.record.seed, budget=course.budget,
                epsilon=course.points["bound"] * course.epsilon / course.budget,
            )
            for run, course in members
        ],
        ignore_index=True,
    )  # fmt: skip


REMOVAL = Kind("removal", draw, f"{REMOVAL_FILE} beside the records, which method=certified_removal keeps")
