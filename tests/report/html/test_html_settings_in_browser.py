"""A page of one method in two settings in a browser: a click on a mean leads to the runs of that setting."""

from __future__ import annotations

from pathlib import Path

from tests.chromium import opened_page
from tests.report.html.hostile_sweep import record, swept
from tests.report.html.test_html_in_browser import click_in_plot, column_in, eventually
from unsir_bench.report.html.page import write_page


def test_a_click_on_the_mean_of_a_setting_shows_its_runs_alone(tmp_path: Path) -> None:
    """Of the only method here: there is no list of methods, and the click leads to the table all the same."""
    runs = [
        record(seed=seed, run_id=f"lr{rate}-s{seed}", config={**record().config, "method": {"lr": rate}})
        for rate in (0.1, 0.2)
        for seed in (0, 1)
    ]
    page = write_page([swept(tmp_path / "s", runs)], tmp_path / "report.html")
    with opened_page(page.path) as tab:
        tab.locator("#s0-speed-up").scroll_into_view_if_needed()
        # From the slowest on: retraining, then both settings, which are equally fast.
        click_in_plot(tab, tab.locator("#s0-speed-up .scatterlayer .trace").first.locator("path.point").nth(2))
        eventually(lambda: column_in(tab, "s0-runs", "run"), ["lr0.2-s0 record", "lr0.2-s1 record"])
        assert tab.locator("#s0-runs select[data-filter=method]").count() == 0
        table = tab.locator("#s0-runs table").first
        eventually(lambda: table.evaluate("it => it.getBoundingClientRect().top < innerHeight"), True)
