"""The dashboard: what its tables and plots hold, that text stays text, and how it works in a browser."""

import json
import re
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from tests.chromium import opened_page
from unsir_bench.records import RunRecord
from unsir_bench.report.folders import Sweep, read_sweep, sweep_folders
from unsir_bench.report.html.page import Page, write_page
from unsir_bench.report.html.tables import leading_number
from unsir_bench.report.method_style import FAMILIES, method_style

IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(2)</script>"
LAYERS = {"head.weight": 2.0, "body.weight": 4.0, "frozen.weight": 0.0}
RETAIN = {"original": [0.98, 0.97], "retrain": [0.96, 0.95], "unsir": [0.9, 0.86], IMAGE: [0.5, 0.7]}
SPEEDS = {"retrain": [1.0, 1.0], "unsir": [9.0, 11.0], IMAGE: [100.0, 120.0]}


def details(scale: float) -> dict[str, Any]:
    layers = {name: value * scale for name, value in LAYERS.items()}
    curve = [[0, 0.0], [5, 0.5 * scale], [10, 0.9]]
    found: dict[str, Any] = {}
    for prefix in ("", "original_", "retrain_", "floor_"):
        found[f"{prefix}forget_predictions"] = [0.25, 0.75]
        found[f"{prefix}relearn_curve"] = curve
        # The store gives back the layers in another order.
        ordered = dict(sorted(layers.items())) if prefix else layers
        found[f"{prefix}weight_distance_to_original"] = {"layers": ordered, "batchnorm_statistics": {"x": 9.0}}
    return found


def record(method: str = "unsir", seed: int = 0, status: str = "done", **changes: Any) -> RunRecord:
    done = status == "done"
    metrics = {
        "acc_forget_test": {"original": 1.0, "retrain": 0.0}.get(method, 0.1 * (seed + 1)),
        "acc_retain_test": RETAIN.get(method, [0.9, 0.9])[seed % 2],
        "retrain_acc_forget_test": 0.0,
        "retrain_acc_retain_test": RETAIN["retrain"][seed % 2],
        "unlearn_seconds": 2.0,
        "retrain_seconds": 2.0,
        "speedup_vs_retrain": SPEEDS.get(method, [None, None])[seed % 2],
    }
    fields: dict[str, Any] = {
        "run_id": f"{'evil' if '<' in method else method}-s{seed}",
        "sweep": "s",
        "method": method,
        "dataset": "digits",
        "model": "net",
        "seed": seed,
        "config": {"dataset": {"subset": 20}, "train": {"name": "small", "epochs": 2}, "metrics": {"name": "standard"}},
        "status": status,
        "forget_set": "single",
        "forget_classes": [0],
        "forget_names": [IMAGE],
        "metrics": metrics if done else {},
        "details": details(1.0 + seed) if done else {},
        "environment": {"commit": "abc123", "cpu": SCRIPT, "packages": {"torch": "2.0", IMAGE: "1"}},
        "started": "2026-01-02T03:04:05+00:00",
    }
    return RunRecord(**{**fields, **changes})


def swept(folder: Path, records: list[RunRecord]) -> Sweep:
    for one in records:
        one.write(folder / one.run_id)
    return read_sweep(folder)


def full_sweep(folder: Path) -> Sweep:
    records = [record(method, seed) for method in RETAIN for seed in (0, 1)]
    records += [
        record("fisher", 0, "failed", reason=f"{IMAGE} is missing", error=f"Traceback\n{SCRIPT}"),
        record("ssd", 0, "skipped", reason="needs forget data"),
        record("scrub", 0, "diverged", reason="the loss became nan"),
        record("unsir", 0, run_id="unsir-pair-s0", forget_set=SCRIPT, forget_classes=[1]),
    ]
    records[0].metric_notes = {"zrf": SCRIPT}
    records[1].metric_notes = {"zrf": SCRIPT}
    return swept(folder, records)


class Reader(HTMLParser):
    """The page as a reader of HTML sees it: tables by id, links, plots' JSON, and all visible text."""

    def __init__(self, text: str):
        super().__init__()
        self.tables: dict[str, list[list[tuple[str, dict[str, str]]]]] = {}
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.plots: dict[str, dict[str, Any]] = {}
        self.words: list[str] = []
        self._rows: list[list[tuple[str, dict[str, str]]]] = []
        self._figure = self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.handlers += [name for name in known if name.startswith("on")]
        self.addresses += [known[name] for name in ("href", "src", "action") if name in known]
        self._inside = known.get("type", "text/javascript") if tag == "script" else tag
        if tag == "div" and known.get("class") == "table":
            self._rows = self.tables[known["id"]] = []
        if tag == "figure":
            self._figure = known["id"]
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append(("", known))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "application/json":
            self.plots[self._figure] = json.loads(data)
        elif self._inside not in ("text/javascript", "module", "text/plain", "style"):
            self.words.append(data)
            if self._rows and self._rows[-1]:
                text, known = self._rows[-1][-1]
                self._rows[-1][-1] = (text + data, known)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def column(self, table: str, title: str) -> list[tuple[str, dict[str, str]]]:
        head, *rows = self.tables[table]
        place = [cell.strip() for cell, _ in head].index(title)
        return [(row[place][0].strip(), row[place][1]) for row in rows]


def read(page: Page) -> Reader:
    return Reader(page.path.read_text())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    root = tmp_path_factory.mktemp("pages")
    sweep = full_sweep(root / "my sweep #1 <b>")
    return write_page([sweep], root / "report" / "report.html")


@pytest.fixture(scope="module")
def reader(page: Page) -> Reader:
    return read(page)


def traces(reader: Reader, plot: str) -> list[dict[str, Any]]:
    return reader.plots[f"s0-{plot}"]["data"]


def named(reader: Reader, plot: str, name: str, forget: str = "single {0}") -> list[dict[str, Any]]:
    found = [trace for trace in traces(reader, plot) if trace.get("name") == name]
    return [trace for trace in found if trace["meta"]["rows"]["forget"] == forget]


# Tables


def test_each_number_of_the_summary_sorts_by_the_mean_it_shows(reader: Reader) -> None:
    methods = [text for text, _ in reader.column("s0-summary", "method")]
    shown = reader.column("s0-summary", "A_Dr %")
    orders = {method: known["data-order"] for method, (_, known) in zip(methods[:4], shown[:4], strict=True)}
    assert {method: float(order) for method, order in orders.items()} == pytest.approx(
        {method: 100 * np.mean(values) for method, values in RETAIN.items()}
    )
    assert all(" ± " in text for text, _ in shown[:4])


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("57.26 ± 102.97", 57.26),
        ("-2.79 ± 7.34", -2.79),
        ("= -0.3 ± 1.0", -0.3),
        ("≠ +98.7 ± 1.0", 98.7),
        ("37.50 [1.20, 80.00]", 37.5),
        ("× +3.0 [-9.0, 15.0]", 3.0),
        ("3", 3.0),
        ("–", None),
        ("", None),
        ("3 images", None),
        ("1 failed", None),
    ],
)
def test_the_number_that_a_cell_sorts_by(words: str, number: float | None) -> None:
    assert leading_number(words) == number


def test_a_missing_number_has_no_place_in_the_order(reader: Reader) -> None:
    place = [text for text, _ in reader.column("s0-summary", "method")].index("original")
    text, known = reader.column("s0-summary", "speed-up")[place]
    assert (text, known["data-order"]) == ("–", "")


def test_every_run_stands_in_the_table_with_its_status_and_reason(reader: Reader) -> None:
    status = [text for text, _ in reader.column("s0-runs", "status")]
    assert sorted(status) == ["diverged"] + ["done"] * 9 + ["failed", "skipped"]
    reasons = [text for text, _ in reader.column("s0-runs", "why")]
    failed = reasons[status.index("failed")]
    assert failed.startswith(f"{IMAGE} is missing")
    assert "Traceback" in failed and "details" in reader.tags
    assert reasons[status.index("skipped")] == "needs forget data"


def test_every_link_leads_to_a_file_that_exists(page: Page, reader: Reader) -> None:
    links = [address for address in reader.addresses if not address.startswith("#")]
    targets = {(page.path.parent / unquote(address)).resolve() for address in links}
    folder = page.path.parent.parent / "my sweep #1 <b>"
    assert {path for path in targets if path.name == "record.json"} == set(folder.resolve().glob("*/record.json"))
    assert all(target.exists() for target in targets)
    assert not any(urlsplit(address).scheme or address.startswith("/") for address in links)


def test_null_metrics_are_counted_by_reason(reader: Reader) -> None:
    assert reader.column("s0-notes", "why it is null")[0][0] == SCRIPT
    assert reader.column("s0-notes", "runs")[0][0] == "2"


def test_the_page_says_what_it_is_about(reader: Reader) -> None:
    for words in ("9 done, 1 failed, 1 diverged, 1 skipped", "digits, 20 images a class at most", "small, 2 epochs"):
        assert words in reader.text
    assert "2026-01-02 03:04 UTC" in reader.text
    assert "abc123" in reader.text and "torch 2.0" in reader.text
    assert "side by side" not in reader.text


def test_records_that_cannot_be_read_are_counted_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    swept(folder, [record()])
    for name, text in {"cut": "{", IMAGE.replace("/", ""): '{"schema_version": 7}'}.items():
        (folder / name).mkdir()
        (folder / name / "record.json").write_text(text)
    written = write_page([read_sweep(folder)], tmp_path / "report.html")
    found = read(written)
    assert len(written.unreadable) == 2
    assert "2 records cannot be read" in found.text
    assert "s/cut/record.json" in found.text and "schema version 7 is not 2" in found.text
    assert not found.handlers


def test_the_same_records_give_the_same_page_and_others_another_key_for_its_scripts(tmp_path: Path) -> None:
    sweep = swept(tmp_path / "s", [record()])
    other = swept(tmp_path / "t", [record(status="failed", reason="broken", error="Traceback")])
    pages = {"first": sweep, "second": sweep, "other": other}
    texts = {name: write_page([each], tmp_path / f"{name}.html").path.read_text() for name, each in pages.items()}
    assert texts["first"] == texts["second"]
    keys = [set(re.findall(r"nonce[-=]\"?(\w+)", text)) for text in texts.values()]
    assert [len(each) for each in keys] == [1, 1, 1] and keys[0] != keys[2]


def test_a_page_of_no_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no record"):
        write_page([read_sweep(tmp_path)], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_sweep_in_which_nothing_is_done_has_a_page(tmp_path: Path) -> None:
    sweep = swept(tmp_path / "s", [record(status="failed", reason="broken", error="Traceback")])
    found = read(write_page([sweep], tmp_path / "report.html"))
    assert not found.plots
    assert found.column("s0-summary", "not done")[0][0] == "1 failed"


def test_the_steps_of_a_sequence_have_their_table(tmp_path: Path) -> None:
    steps = [{"classes": [place], "metrics": {"acc_forget_test": 0.1 * place}} for place in (1, 2)]
    sweep = swept(tmp_path / "s", [record(details={"steps": steps})])
    found = read(write_page([sweep], tmp_path / "report.html"))
    assert [text for text, _ in found.column("s0-steps", "A_Df %")] == ["10.00", "20.00"]


def test_sweeps_are_found_at_any_depth_but_not_in_the_store_or_the_report(tmp_path: Path) -> None:
    for place in ("a/run", "deep/er/b/run", "store/entries/run", "report/old/run"):
        record().write(tmp_path / place)
    assert sweep_folders(tmp_path) == [tmp_path / "a", tmp_path / "deep" / "er" / "b"]
    assert sweep_folders(tmp_path / "a") == [tmp_path / "a"]


# Plots


def test_the_large_point_is_the_mean_with_the_interval_of_two_seeds(reader: Reader) -> None:
    (point,) = named(reader, "trade-off", "unsir")
    # Student's t of one degree of freedom at 97.5 % is 12.7062; s/√2 of 90 and 86 is 2.
    assert point["x"] == pytest.approx([15.0]) and point["y"] == pytest.approx([88.0])
    assert point["error_y"]["array"] == pytest.approx([12.7062 * 2], abs=1e-3)
    assert "unsir-s0" in point["customdata"][0][0] and "unsir-s1" in point["customdata"][0][0]


def test_a_single_run_has_a_point_without_an_interval_that_leads_to_it(reader: Reader) -> None:
    (point,) = named(reader, "trade-off", "unsir", forget=f"{SCRIPT} {{1}}")
    assert point["error_y"]["visible"] is False
    assert unquote(point["customdata"][0][1]) == "../my sweep #1 <b>/unsir-pair-s0/record.json"


def test_data_sets_and_models_are_never_averaged_together(tmp_path: Path) -> None:
    other = record(seed=0, run_id="other", dataset="cifar10", metrics={"acc_forget_test": 0.9, "acc_retain_test": 0.1})
    sweep = swept(tmp_path / "s", [record(seed=0), record(seed=1), other])
    found = read(write_page([sweep], tmp_path / "report.html"))
    shown = [trace for trace in traces(found, "trade-off") if trace.get("name") == "unsir"]
    by_data = {trace["meta"]["rows"]["dataset"]: trace["y"] for trace in shown}
    assert set(by_data) == {"digits", "cifar10"}
    assert by_data["digits"] == pytest.approx([88.0]) and by_data["cifar10"] == pytest.approx([10.0])
    assert "2 data sets stand here side by side" in found.text
    assert "Seconds were not all taken alike" not in found.text


def test_seconds_of_two_machines_are_said_to_be(tmp_path: Path) -> None:
    runs = [record(seed=seed, environment={"device": name}) for seed, name in enumerate(["A", SCRIPT])]
    found = read(write_page([swept(tmp_path / "s", runs)], tmp_path / "report.html"))
    assert f"Seconds were not all taken alike (device {SCRIPT}; device A)" in found.text


def test_speed_up_bars_run_from_one_to_the_mean_on_a_logarithmic_axis(reader: Reader) -> None:
    (bars,) = [
        t for t in traces(reader, "speed-up") if t["type"] == "bar" and t["meta"]["rows"]["forget"] == "single {0}"
    ]
    ends = dict(zip(bars["y"], np.add(bars["base"], bars["x"]), strict=True))
    assert ends == pytest.approx({"retrain": 1.0, "unsir": 10.0, "&lt;img src=x onerror=alert(1)&gt;": 110.0})
    assert reader.plots["s0-speed-up"]["layout"]["xaxis"]["type"] == "log"
    (means,) = [t for t in traces(reader, "speed-up") if t.get("error_x") and len(t["y"]) == 3]
    lowest = [x - minus for x, minus in zip(means["x"], means["error_x"]["arrayminus"], strict=True)]
    assert min(lowest) > 0


def test_layers_stand_in_the_networks_order_and_frozen_ones_have_no_point(reader: Reader) -> None:
    for name in ("unsir", "retrain", "retrain (second)"):
        (curve,) = named(reader, "layers", name)
        assert curve["x"] == ["head.weight", "body.weight"]
        assert curve["y"] == pytest.approx([np.mean([2, 4]), np.mean([4, 8])])
    assert reader.plots["s0-layers"]["layout"]["yaxis"]["type"] == "log"


def test_relearning_shows_the_mean_and_below_it_a_curve_per_seed(reader: Reader) -> None:
    assert len(named(reader, "relearning", "retrain")) == 1 + 2
    mean, *seeds = named(reader, "relearning", "unsir")
    assert mean["y"] == [0.0, 75.0, 90.0] and mean.get("showlegend", True) and mean["meta"]["link"] == ""
    assert [curve["y"] for curve in seeds] == [[0.0, 50.0, 90.0], [0.0, 100.0, 90.0]]
    assert unquote(seeds[0]["meta"]["link"]).endswith("/unsir-s0/record.json")
    assert "method" not in named(reader, "relearning", "retrain")[0]["meta"]["show"]
    (plateau,) = named(reader, "relearning", "retrain's plateau")
    assert plateau["x"] == [0, 10] and plateau["y"] == [90.0, 90.0]
    # Half of Student's t of two seeds is 12.7 · 25 points: the band reaches both ends.
    (band,) = [one for one in traces(reader, "relearning") if one.get("fill") and one["legendgroup"] == "unsir"]
    assert band["x"] == [0, 5, 10, 10, 5, 0] and band["y"][1] == 100 and band["y"][4] == 0


def test_predictions_are_shown_by_the_index_of_the_retained_class(reader: Reader) -> None:
    first, second = traces(reader, "predictions")
    assert first["x"] == ["1", "2"] and second["x"] == ["0", "2"]
    assert first["y"][:4] == ["original", "retrain", "retrain (second)", "unsir"]
    assert np.array(first["z"]) == pytest.approx(np.tile([0.25, 0.75], (5, 1)))


def test_a_plot_without_values_says_which_preset_records_them(tmp_path: Path) -> None:
    sweep = swept(tmp_path / "s", [record(details={})])
    found = read(write_page([sweep], tmp_path / "report.html"))
    assert set(found.plots) == {"s0-trade-off", "s0-speed-up"}
    assert found.text.count("metrics=standard (the default) and metrics=full record it") == 3


# Styles


def test_each_known_method_has_a_look_of_its_own() -> None:
    names = [name for family in FAMILIES.values() for name in family]
    assert len({method_style(name) for name in names}) == len(names)
    assert len({method_style(name)._replace(symbol="") for name in names}) == len(names)


def test_an_unknown_method_keeps_its_look_and_is_never_drawn_like_a_known_one() -> None:
    known = {method_style(name) for family in FAMILIES.values() for name in family}
    styles = [method_style(f"mine{number}") for number in range(200)]
    assert not known & set(styles)
    assert len(set(styles)) > 20
    # Pinned: another release or machine must not repaint it.
    assert method_style("my_method") == ("#CC79A7", "star", "*")


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_every_colour_stands_out_from_white_paper() -> None:
    assert all(1.05 / (luminance(color) + 0.05) > 2 for color in FAMILIES)


# Text from records stays text


def test_no_text_of_a_record_becomes_a_tag_or_a_script(page: Page, reader: Reader) -> None:
    text = page.path.read_text()
    assert "img" not in reader.tags and not reader.handlers
    assert IMAGE not in text and "<script>alert" not in text
    assert IMAGE in reader.text and SCRIPT in reader.text


def test_names_in_plots_are_escaped_for_plotly_too(reader: Reader) -> None:
    def strings(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            # meta is compared with the lists' options and never drawn.
            yield from (text for key, value in node.items() if key != "meta" for text in strings(value))
        elif isinstance(node, list):
            yield from (text for value in node for text in strings(value))
        elif isinstance(node, str):
            yield node

    # Lists of customdata end with the method as the lists above the tables spell it; nothing draws that.
    drawn = [text for plot in reader.plots.values() for one in plot["data"] for text in strings(one)]
    assert any("&lt;img src=x" in text for text in drawn)
    assert {text for text in drawn if "<img" in text or "<script" in text} <= {IMAGE}
    for one in traces(reader, "trade-off"):
        assert all("<img" not in point[0] for point in one["customdata"])


def test_nothing_on_the_page_points_to_the_network(page: Page, reader: Reader) -> None:
    assert not [address for address in reader.addresses if re.match(r"(?i)\s*(https?:|//|javascript:|ftp:)", address)]
    assert "default-src 'none'" in page.path.read_text()
    assert page.path.stat().st_size < 8e6


# In a browser


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
