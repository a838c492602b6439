"""Figure: what the last part of a method gains, against the number of forgotten classes.

"Repair gets more effective with more classes" is a claim on this gain: the change of each accuracy from the last stage
that a method marks, such as the end of impair, to its end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from unsir_bench.records import RunRecord
from unsir_bench.report.figures.data import Drawing, Kind, Scene
from unsir_bench.report.figures.style import legend_below, new_figure, tones
from unsir_bench.report.method_style import GREY, method_style
from unsir_bench.report.plots.parts import EVERY_PRESET, PERCENT
from unsir_bench.report.samples import gap_interval, samples_of
from unsir_bench.report.seeds import one_per_seed

GAINS = {
    "a_dr_gain_points": ("acc_retain_test", "$A_{\\mathrm{Dr}}$"),
    "a_df_gain_points": ("acc_forget_test", "$A_{\\mathrm{Df}}$"),
}
TO_SEE = "good: the upper curve is high, the lower one at 0"
LEAST_SPAN = 2.0  # points; an axis of fewer would make much of nothing
APART = 0.12  # between the methods of one number of classes, along the axis


def draw(scene: Scene) -> Iterator[Drawing]:
    """Gains in points, mean over seeds with 95 % intervals no narrower than the exact binomial ones, a curve a method.

    Numbers of classes stand side by side at equal distances. Several sets of as many classes are averaged in each seed.
    """
    compared = [run for run in scene.runs() if _is_comparable(run.record)]
    if not compared:
        return
    forgotten = dict(zip(scene.models["run_id"], scene.models["forget"], strict=True))
    runs = [{"label": run.label, "forget": forgotten[run.record.run_id], **_gains(run.record)} for run in compared]
    table = pd.DataFrame(_estimates(pd.DataFrame(runs), scene.models))
    counted = [int(n) for name in GAINS for n in table[f"{name}_n"] if n]
    if not counted:
        return
    title = scene.title(counted, "from the last stage marked to the end", TO_SEE)
    figure = new_figure(3.4, title)
    panels = figure.subplots(len(GAINS), 1, sharex=True)
    counts = sorted(table["classes"].unique().tolist())
    for panel, (name, (_, words)) in zip(panels, GAINS.items(), strict=True):
        _draw(panel, table, name, counts)
        panel.set_ylabel(f"gain of {words}, points", parse_math=True)
    panels[-1].set_xticks(range(len(counts)), list(map(str, counts)))
    panels[-1].set_xlabel("forgotten classes")
    handles, labels = panels[0].get_legend_handles_labels()
    legend_below(figure, handles, labels)
    yield Drawing("repair_gain", figure, table)


def _is_comparable(record: RunRecord) -> bool:
    """Whether a run marked a stage, and forgot classes at once: steps of a sequence have several ends."""
    return bool(record.details.get("stages") and record.forget_classes and len(record.forget_steps) == 1)


def _gains(record: RunRecord) -> dict[str, object]:
    last = record.details["stages"][-1]
    return {
        "method": record.method,
        "seed": record.seed,
        "classes": len(record.forget_classes),
        **{field: _number(record.metrics.get(field)) for field, _ in GAINS.values()},
        **{name: _number(record.metrics.get(field)) - _number(last.get(field)) for name, (field, _) in GAINS.items()},
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _estimates(runs: pd.DataFrame, models: pd.DataFrame) -> Iterator[dict[str, object]]:
    for (label, classes), rows in runs.groupby(["label", "classes"], sort=False):
        own = one_per_seed(rows)
        row: dict[str, object] = {
            "method": rows["method"].iloc[0], "label": label, "classes": classes, "n": len(own),
        }  # fmt: skip
        for name, (field, _) in GAINS.items():
            known = own.dropna(subset=[name])
            samples = _least_samples(models, set(rows["forget"]), field)
            mean, low, high = gap_interval(known[name].tolist(), known[field].tolist(), samples)
            ends = {f"{name}_low": PERCENT * low, f"{name}_high": PERCENT * high}
            row |= {name: PERCENT * mean, **ends, f"{name}_n": len(known)}
        yield row


def _least_samples(models: pd.DataFrame, forgotten: Collection[str], field: str) -> int | None:
    """Of how many test samples a share is, of that of several forget sets which has the fewest."""
    counts = [samples_of(models[models["forget"] == each], field) for each in forgotten]
    return min(filter(None, counts), default=None)


def _draw(panel: Axes, table: pd.DataFrame, name: str, counts: Sequence[int]) -> None:
    first = table.drop_duplicates("label")
    labels, methods = first["label"].tolist(), first["method"].tolist()
    panel.axhline(0, color=GREY, linewidth=0.6)
    for place, (label, method, color) in enumerate(zip(labels, methods, tones(methods), strict=True)):
        rows = table[table["label"] == label].sort_values("classes")
        shift = APART * (place - (len(labels) - 1) / 2)
        panel.errorbar(
            [counts.index(count) + shift for count in rows["classes"]],
            rows[name],
            yerr=[end.fillna(0.0) for end in (rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name])],
            color=color, marker=method_style(method).marker, label=str(label), elinewidth=0.7, capsize=1.5,
        )  # fmt: skip
    panel.set_xlim(-0.5, len(counts) - 0.5)
    low, high = panel.get_ylim()
    room = max(0.0, LEAST_SPAN - (high - low)) / 2
    panel.set_ylim(low - room, high + room)
    panel.yaxis.set_major_locator(MaxNLocator(4))


REPAIR_GAIN = Kind(
    "repair_gain",
    draw,
    f"stages, which UNSIR marks between impair and repair, of runs that forget classes: {EVERY_PRESET}",
)
