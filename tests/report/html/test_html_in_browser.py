"""The page in a browser: sorting, lists and clicks, and nothing asked of the network."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import pytest

from tests.chromium import opened_page
from tests.report.html.hostile_sweep import IMAGE
from unsir_bench.report.html.page import Page


@pytest.fixture(scope="module")
def browser_page(page: Page) -> Iterator[Any]:
    """The page in headless Chromium, with what it asked of the network and what it complained of."""
    with opened_page(page.path) as tab:
        yield tab


def column_in(tab: Any, table: str, title: str) -> list[str]:
    heads = [text.strip() for text in tab.locator(f"#{table} thead th").all_inner_texts()]
    cells = tab.locator(f"#{table} tbody tr td:nth-child({heads.index(title) + 1})")
    return [text.strip() for text in cells.all_inner_texts()]


def eventually(read: Callable[[], Any], expected: Any) -> None:
    """The page redraws a moment after a click: wait until it shows what is expected, ten seconds at most."""
    deadline = time.monotonic() + 10
    while (shown := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert shown == expected


def test_a_click_on_a_head_sorts_numbers_as_numbers_and_keeps_what_is_missing_last(browser_page: Any) -> None:
    head = browser_page.locator("#s0-summary thead th", has_text="speed-up")
    # As text, 110 would stand before 9 and 10.
    rising = [1.0, 1.0, 9.0, 10.0, 110.0]

    def sorted_as() -> tuple[list[float], set[str]]:
        shown = column_in(browser_page, "s0-summary", "speed-up")
        numbers = [float(text.split(" ± ")[0]) for text in shown if text != "–"]
        return numbers, set(shown[len(numbers) :])

    for order in (rising, rising[::-1]):
        head.click()
        eventually(sorted_as, (order, {"–"}))


def test_a_list_shows_the_rows_of_the_chosen_method_alone(browser_page: Any) -> None:
    before = column_in(browser_page, "s0-runs", "method")
    choice = browser_page.locator("#s0-runs select[data-filter=method]")
    choice.select_option(IMAGE)
    eventually(lambda: column_in(browser_page, "s0-runs", "method"), [IMAGE] * 2)
    choice.select_option("unsir")
    browser_page.locator("#s0-runs select[data-filter=forget]").select_option("single {0}")
    eventually(lambda: column_in(browser_page, "s0-runs", "method"), ["unsir"] * 2)
    for name in ("method", "forget"):
        browser_page.locator(f"#s0-runs select[data-filter={name}]").select_option("")
    eventually(lambda: column_in(browser_page, "s0-runs", "method"), before)


def test_every_plot_is_drawn_and_follows_the_lists(browser_page: Any) -> None:
    for plot in ("trade-off", "speed-up", "layers", "relearning", "predictions"):
        figure = browser_page.locator(f"#s0-{plot}")
        figure.scroll_into_view_if_needed()
        figure.locator("svg.main-svg").first.wait_for()
        assert figure.locator(".point, .points path, image").count() > 0
    legend = browser_page.locator("#s0-layers .legendtext")
    assert legend.all_text_contents() == ["original", "retrain", "retrain (second)", "unsir"]
    browser_page.locator("#s0-layers select[data-choose=method]").select_option(IMAGE)
    eventually(lambda: legend.all_text_contents()[-1], IMAGE)


def click_in_plot(tab: Any, point: Any) -> None:
    """Plotly takes clicks on a layer above its points, for the point that it hovers over."""
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.move(*middle, steps=3)
    tab.locator(".hoverlayer .hovertext").first.wait_for()
    tab.mouse.click(*middle)


def test_a_click_on_a_mean_shows_the_runs_behind_it(browser_page: Any) -> None:
    browser_page.locator("#s0-speed-up").scroll_into_view_if_needed()
    means = browser_page.locator("#s0-speed-up .scatterlayer .trace").first.locator("path.point")
    click_in_plot(browser_page, means.nth(1))
    eventually(lambda: column_in(browser_page, "s0-runs", "run"), ["unsir-s0 record", "unsir-s1 record"])
    for name in ("method", "forget"):
        browser_page.locator(f"#s0-runs select[data-filter={name}]").select_option("")


def test_a_click_on_a_point_opens_the_record_of_its_run(browser_page: Any) -> None:
    browser_page.locator("#s0-relearning select").select_option("unsir")
    point = browser_page.locator("#s0-relearning .scatterlayer .trace").last.locator("path.point").nth(1)
    with browser_page.expect_popup() as opened:
        click_in_plot(browser_page, point)
    opened.value.wait_for_load_state()
    assert unquote(opened.value.url).endswith("/my sweep #1 <b>/unsir-s1/record.json")
    assert '"run_id": "unsir-s1"' in opened.value.content()
    opened.value.close()


def test_a_wide_table_scrolls_within_its_own_box(browser_page: Any) -> None:
    browser_page.set_viewport_size({"width": 700, "height": 900})
    widths = browser_page.evaluate(
        "() => { const box = document.querySelector('#s0-runs table').parentElement;"
        "return [document.documentElement.scrollWidth, innerWidth, box.scrollWidth, box.clientWidth]; }"
    )
    browser_page.set_viewport_size({"width": 1400, "height": 900})
    assert widths[0] <= widths[1]
    assert widths[2] > widths[3]


def test_the_page_asked_nothing_of_the_network_and_complained_of_nothing(browser_page: Any) -> None:
    """Last: over all that was clicked before."""
    asked = browser_page.evaluate("() => performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [address for address in asked if not address.startswith(("file:", "data:", "blob:"))] == []
    assert browser_page.asked == []
    assert browser_page.complaints == []
    assert browser_page.evaluate("() => document.images.length") == 0


def test_no_button_of_a_plot_sends_its_data_away(browser_page: Any) -> None:
    buttons = browser_page.evaluate(
        "() => [...document.querySelectorAll('.modebar-btn')].map((one) => one.dataset.title)"
    )
    assert set(buttons) == {"Download plot as a PNG", "Zoom", "Pan", "Reset axes"}
