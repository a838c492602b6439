"""The interactive plots of a sweep, as Plotly figures; every trace says for which choice on the page it is shown.

Nothing is averaged over data sets, models or forget sets: each trace belongs to one *place*, a data set, model and
forget set. Text from records is escaped, since Plotly reads a subset of HTML in names, ticks and hover boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

from unsir_bench.report.html.plot_layer_distances import layer_distances
from unsir_bench.report.html.plot_parts import Plot
from unsir_bench.report.html.plot_predictions import predictions
from unsir_bench.report.html.plot_relearning import relearning
from unsir_bench.report.html.plot_speedups import speedups
from unsir_bench.report.html.plot_trade_off import trade_off
from unsir_bench.report.run_series import Run, Series


def plots(series: Sequence[Series], runs: Sequence[Run]) -> list[Plot]:
    """Every plot of a sweep.

    Args:
        series: ``series_of`` the sweep's frame; a column ``link`` leads to each run's record.
        runs: the finished runs, in the order of the tables.
    """
    return [trade_off(series), speedups(series), layer_distances(runs), relearning(runs), predictions(runs)]
