"""How fast the page of many runs opens in Chromium, and whether it can be used by keyboard.

By hand: python -m tests.benchmarks.page_in_browser --screenshots FOLDER

The runs are those of a committed sweep, written again under further seeds with their shares of samples a little
changed, all in one sweep. Loaded is when tables are sorted and filtered by script (``html[data-ready]``). Ends with
status 1 where loading took too long, the console complained, a filter did not answer to keys, or the page is wider than
its window.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unsir_bench.records import RunRecord
from unsir_bench.report.folders import read_sweep
from unsir_bench.report.html.page import write_page
from unsir_bench.report.samples import PREFIXES, SHARES

TEMPLATES = Path("docs/results/cifar10_single_cpu")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SCREENS = {"desktop": (1400, 900), "phone": (390, 844)}
MOST_SECONDS = 3.0


def made_records(count: int, templates: Sequence[RunRecord]) -> Iterator[RunRecord]:
    """So many records: each template under seed after seed."""
    rng = np.random.default_rng(0)
    shares = {prefix + name for prefix in PREFIXES for name in SHARES}
    for place in range(count):
        template, seed = templates[place % len(templates)], place // len(templates)
        metrics = {
            name: float(np.clip(value + rng.normal(0, 0.01), 0, 1)) if name in shares and value is not None else value
            for name, value in template.metrics.items()
        }
        yield replace(template, run_id=f"{template.run_id}-{seed}", seed=seed, metrics=metrics)


def write_page_of(count: int, folder: Path) -> Path:
    """The page of one sweep of so many runs; prints what writing it took."""
    done = [record for record in read_sweep(TEMPLATES).records if record.status == "done" and record.seed == 0]
    for record in made_records(count, done):
        record.write(folder / "many" / record.run_id)
    started = time.perf_counter()
    page = write_page([read_sweep(folder / "many")], folder / "report.html")
    print(
        f"{page.runs} runs, written in {time.perf_counter() - started:.1f} s, {page.path.stat().st_size / 1e6:.1f} MB"
    )
    return page.path


def opened(browser: Any, page: Path, screen: str) -> tuple[Any, float, list[str]]:
    """A tab with the page in a window of some size, the seconds until it was ready, and the console's complaints."""
    width, height = SCREENS[screen]
    tab = browser.new_page(viewport={"width": width, "height": height})
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    started = time.perf_counter()
    tab.goto(page.resolve().as_uri())
    tab.wait_for_selector("html[data-ready]", timeout=60_000)
    seconds = time.perf_counter() - started
    found = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    print(f"{screen}: ready after {seconds:.2f} s, of which {found['ThreadTime']:.2f} s of computing in the page")
    return tab, seconds, complaints


def filters_by_keyboard(tab: Any) -> bool:
    """Reach the list of methods with Tab alone, choose one with a key, and see its rows alone."""
    tab.locator("#s0-runs-caption").click()
    for _ in range(30):
        tab.keyboard.press("Tab")
        if tab.evaluate(
            "document.activeElement.dataset.filter === 'method' && !!document.activeElement.closest('#s0-runs')"
        ):
            break
    else:
        return False
    tab.keyboard.press("ArrowDown")
    chosen = tab.locator("#s0-runs select[data-filter=method]").input_value()
    tab.wait_for_timeout(500)
    heads = [text.strip() for text in tab.locator("#s0-runs thead th").all_inner_texts()]
    column = f"#s0-runs tbody tr td:nth-child({heads.index('method') + 1})"
    return bool(chosen) and set(tab.locator(column).all_inner_texts()) == {chosen}


def faults(browser: Any, page: Path, screenshots: Path | None) -> Iterator[str]:
    """What is wrong, in words; prints what was measured."""
    for screen in SCREENS:
        tab, seconds, complaints = opened(browser, page, screen)
        if seconds > MOST_SECONDS:
            yield f"{screen}: {seconds:.2f} s"
        if not filters_by_keyboard(tab):
            yield f"{screen}: the list of methods does not answer to keys"
        _scrolled_through(tab)
        if absent := layers_without_a_point(tab):
            yield f"{screen}: {absent} layers on the axis are of no network shown"
        if screenshots:
            tab.screenshot(path=screenshots / f"{screen}.png", full_page=True)
        wide, window = tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        if wide > window:
            yield f"{screen}: {wide} pixels wide in a window of {window}"
        yield from (f"{screen}: {complaint}" for complaint in complaints)
        tab.close()


def layers_without_a_point(tab: Any) -> int:
    """Names on the axis of layers that no curve has: the sweep has two networks, of which one is shown."""
    return int(
        tab.evaluate(
            "() => { const plot = document.querySelector('#s0-layers .drawing');"
            "const named = new Set(plot.data.flatMap((trace) => trace.x));"
            "return plot._fullLayout.xaxis._categories.filter((name) => !named.has(name)).length; }"
        )
    )


def _scrolled_through(tab: Any) -> None:
    """Plots are drawn when they come into view."""
    for figure in tab.locator("figure").all():
        figure.scroll_into_view_if_needed()
        figure.locator("svg.main-svg").first.wait_for()


def main() -> None:
    """Write the page of many runs, open it, and tell what is wrong."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--screenshots", type=Path, help="a folder for pictures of the whole page")
    chosen = parser.parse_args()
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        sys.exit("no Chromium on this machine")
    if chosen.screenshots:
        chosen.screenshots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        page = write_page_of(chosen.runs, Path(folder))
        browser = started.chromium.launch(executable_path=path, args=FLAGS)
        wrong = list(faults(browser, page, chosen.screenshots))
        browser.close()
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
