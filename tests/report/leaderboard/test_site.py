"""The leaderboard's page: its boards, links, filters and escaping; in a browser, by keyboard and on a phone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.chromium import opened_page
from unsir_bench.records import RunRecord
from unsir_bench.report import command
from unsir_bench.report.folders import read_sweep
from unsir_bench.report.leaderboard.boards import boards
from unsir_bench.report.leaderboard.site import Site, file_of, newest_of_each_run, write_site

SCRIPT = "</script><img src=x onerror=alert(1)>"
PHONE = {"width": 390, "height": 844}
ACCESS = {"unsir": ["retain_subset"], "neggrad": ["forget_data"], "logit_mask": [], "finetune": ["retain_data"]}
RETAIN = {"retrain": 0.96, "original": 0.97, "unsir": 0.9, "neggrad": 0.6, "logit_mask": 0.97, "finetune": 0.95}
FORGET = {"original": 0.98, "finetune": 0.3}


def record(method: str, seed: int, **changes: Any) -> RunRecord:
    metrics: dict[str, float | int | None] = {
        "acc_retain_test": RETAIN.get(method, 0.9) + 0.005 * seed,
        "acc_forget_test": FORGET.get(method, 0.0),
        "retrain_acc_retain_test": 0.96 + 0.005 * seed,
        "retrain_acc_forget_test": 0.0,
        "unlearn_seconds": 2.0,
    }
    fields: dict[str, Any] = {
        "run_id": f"{method}-s{seed}", "sweep": "s", "method": method, "dataset": "digits", "model": "net",
        "seed": seed,
        "config": {"method": {"name": method, "lr": 0.1}}, "status": "done", "forget_set": "single",
        "forget_classes": [0], "metrics": metrics, "access": {"declared": ACCESS.get(method, [])},
        "settings": "published", "command": f"unsir-bench method={method} seed={seed}",
        "details": {"samples": {"retain_test": 3600, "forget_test": 400}},
    }  # fmt: skip
    return RunRecord(**{**fields, **changes})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("sweep")
    records = [record(method, seed) for method in RETAIN for seed in (0, 1, 2)]
    records += [record("unsir", seed, run_id=f"../{SCRIPT}-s{seed}", model=SCRIPT) for seed in (0, 1)]
    records += [record("ssd", 0), record("esc", 0, status="failed", metrics={}), record("unsir", 0, dataset="cifar",
                                                                                     run_id="cifar-s0")]  # fmt: skip
    for place, one in enumerate(records):
        one.write(folder / f"run-{place}")
    return write_site([read_sweep(folder)], folder / "site")


def test_methods_are_ranked_and_references_controls_and_single_seeds_are_not() -> None:
    [board] = boards([record(method, seed) for method in RETAIN for seed in (0, 1, 2)] + [record("ssd", 0)])
    ranked = {method.name: (method.rank, method.unranked) for method in board.methods}
    assert ranked["unsir"] == (1, "")
    assert ranked["finetune"][0] == ranked["neggrad"][0] == 2, "15.5 and 18 points of 400 test images"
    assert all(rank is None for rank, why in ranked.values() if why)
    assert ranked["logit_mask"][1].startswith("control") and ranked["ssd"][1] == "one seed"
    assert [method.name for method in board.methods][:3] == ["original", "retrain", "unsir"]
    assert {method.name: (method.reads_forget, method.reads_retain) for method in board.methods if method.rank} == {
        "unsir": (False, True), "neggrad": (True, False), "finetune": (False, True)
    }  # fmt: skip


def test_a_method_on_seeds_of_its_own_is_not_ranked_and_the_page_says_why() -> None:
    apart = [record("ssd", seed) for seed in (7, 8)]
    [board] = boards([record(method, seed) for method in ("unsir", "neggrad") for seed in (0, 1, 2)] + apart)
    ranked = {method.name: (method.rank, method.unranked) for method in board.methods}
    assert ranked["ssd"] == (None, "fewer than two seeds in common with another method")
    assert (ranked["unsir"], ranked["neggrad"]) == ((1, ""), (2, ""))


def test_where_samples_are_forgotten_no_method_is_ranked_for_want_of_forget_test_samples() -> None:
    runs = [record(method, seed) for method in ("unsir", "retrain") for seed in (0, 1)]
    for run in runs:
        run.metrics |= {"acc_forget_test": None, "retrain_acc_forget_test": None}
    [board] = boards(runs)
    unranked = {method.name: method.unranked for method in board.methods}
    assert unranked == {"retrain": "reference", "unsir": "no test samples of what is forgotten"}
    for run in runs:
        del run.metrics["retrain_acc_retain_test"]
    [board] = boards(runs[:2])
    assert [method.unranked for method in board.methods] == ["no retrained model to compare it with"]


def test_runs_that_are_not_done_are_counted_beside_the_survivors_and_methods_without_any_are_named() -> None:
    done = [record("finetune", seed, fingerprints={"data": "d"}) for seed in range(5)]
    done += [record("neggrad", seed, fingerprints={"data": "d"}) for seed in (0, 1)]
    lost = [record("neggrad", seed, status="diverged", metrics={}) for seed in (2, 3, 4)]
    lost += [record("ssd", seed, status=status, metrics={}) for seed, status in enumerate(("failed", "skipped"))]
    [board] = boards([*done, *lost])
    cells = {method.name: method.cells["not done"] for method in board.methods}
    assert cells == {"retrain": "–", "finetune": "–", "neggrad": "3 diverged"} and "not done" in board.titles
    assert board.remarks == ["Without a finished run: ssd (1 failed, 1 skipped)."]
    [board] = boards(done)
    assert "not done" not in board.titles and board.remarks == []


def test_boards_of_two_folders_of_one_name_say_which() -> None:
    runs = [
        record("unsir", 0, run_id=root, fingerprints={"data": content}, config={"dataset": {"root": root}})
        for root, content in (("a", "1" * 16), ("b", "2" * 16))
    ]
    assert sorted(board.words for board in boards(runs)) == ["root=a", "root=b"]
    assert [board.words for board in boards(runs[:1])] == [""]


def test_every_run_of_a_seed_is_linked_and_repeated_by_its_command() -> None:
    drawn = [
        record("unsir", 0, run_id=f"draw-{draw}", command=f"again {draw}", environment={"commit": f"c{draw}"})
        for draw in (0, 1, 2)
    ]
    [board] = boards([*drawn, record("unsir", 1)])
    [method] = [method for method in board.methods if method.name == "unsir"]
    assert method.cells["n"] == "2"
    assert method.runs == [(0, "draw-0"), (0, "draw-1"), (0, "draw-2"), (1, "unsir-s1")]
    assert method.commands == ["again 0", "again 1", "again 2", "unsir-bench method=unsir seed=1"]
    assert [f"c{draw}, unknown CPU" in method.made_by for draw in (0, 1, 2)] == [True] * 3


def test_every_link_of_a_row_leads_to_the_record_as_it_was_written(site: Site) -> None:
    text = site.page.read_text(encoding="utf-8")
    links = [unquote(part.split('"')[0]) for part in text.split('href="')[1:]]
    to_records = [link for link in links if link.endswith(".json")]
    assert len(to_records) == 6 * 3 + 2 + 1 + 1
    for link in to_records:
        path = site.page.parent / link
        assert path.resolve().parent == (site.page.parent / "records").resolve()
        assert RunRecord.read(path).digest == json.loads(path.read_text(encoding="utf-8"))["digest"]
    assert all(link.startswith(("#", "records/", "data:")) for link in links)


def test_names_are_text_and_lead_nowhere(site: Site) -> None:
    text = site.page.read_text(encoding="utf-8")
    assert SCRIPT not in text and "&lt;/script&gt;" in text
    assert {path.parent for path in site.page.parent.rglob("*.json")} == {site.page.parent / "records"}
    assert file_of(record("x", 0, run_id="a/b")) != file_of(record("x", 0, run_id="a_b"))


def test_of_two_records_of_a_run_the_newer_counts() -> None:
    old, new = (record("unsir", 0, finished=f"2026-01-0{day}T00:00:00+00:00") for day in (1, 2))
    failed = record("unsir", 0, finished="2026-01-03T00:00:00+00:00", status="failed")
    assert newest_of_each_run([(Path("b"), new), (Path("a"), old), (Path("c"), failed)]) == [(Path("b"), new)]


def test_a_failed_run_is_counted_on_the_page_and_has_no_file(tmp_path: Path) -> None:
    """Failed runs were dropped before the boards could count them."""
    records = [record(method, seed) for method in ("unsir", "neggrad") for seed in (0, 1)]
    lost = [("unsir", 2, "failed"), ("ssd", 0, "failed"), ("ssd", 1, "skipped")]
    records += [record(method, seed, status=status, metrics={}) for method, seed, status in lost]
    records += [record("unsir", 0, status="failed", metrics={}, finished="2027-01-01T00:00:00+00:00")]
    for place, one in enumerate(records):
        one.write(tmp_path / "sweep" / f"run-{place}")
    made = write_site([read_sweep(tmp_path / "sweep")], tmp_path / "site")
    text = made.page.read_text(encoding="utf-8")
    assert "Without a finished run: ssd (1 failed, 1 skipped)." in text
    assert "1 failed" in text.replace("(1 failed, 1 skipped)", ""), "the third seed of unsir"
    names = {json.loads(path.read_text())["run_id"] for path in (made.page.parent / "records").iterdir()}
    assert names == {"unsir-s0", "unsir-s1", "neggrad-s0", "neggrad-s1", "ssd-s1"} and made.records == 5


def test_of_two_records_that_ended_alike_the_one_evaluated_last_counts() -> None:
    plain = record("unsir", 0, finished="2026-01-01T00:00:00+00:00")
    added = [{"metrics": {}, "finished": f"2026-01-0{day}T00:00:00+00:00"} for day in (2, 3)]
    once, twice = (record("unsir", 0, finished=plain.finished, evaluated=added[:count]) for count in (1, 2))
    for copies in ([plain, once, twice], [twice, once, plain]):
        [(_, counts)] = newest_of_each_run((Path(str(place)), copy) for place, copy in enumerate(copies))
        assert counts is twice


def test_records_without_a_method_make_no_site(tmp_path: Path) -> None:
    record("retrain", 0).write(tmp_path / "sweep" / "run")
    with pytest.raises(SystemExit, match="no finished run of a method"):
        command.main(["leaderboard", str(tmp_path / "sweep"), "--output", str(tmp_path / "site")])
    assert not (tmp_path / "site").exists()


# In a browser


@pytest.fixture(scope="module")
def tab(site: Site) -> Iterator[Any]:
    with opened_page(site.page) as found:
        yield found


def shown(tab: Any) -> list[str]:
    return list(tab.locator("section.board:visible tbody tr[data-method]:visible").evaluate_all(
        "rows => rows.map(row => row.dataset.method)"))  # fmt: skip


def test_filters_of_access_hide_what_reads_more(tab: Any) -> None:
    tab.locator("nav a", has_text="digits, net").click()
    everything = shown(tab)
    assert set(everything) == {"unsir", "neggrad", "logit_mask", "finetune", "ssd"}
    tab.locator("[data-filter=noforget]").check()
    assert set(shown(tab)) == set(everything) - {"neggrad"}
    assert "4 of 5 methods" in tab.locator("section.board:visible [data-count]").inner_text()
    tab.locator("[data-filter=noretain]").check()
    assert set(shown(tab)) == {"logit_mask", "ssd"}
    for name in ("noforget", "noretain"):
        tab.locator(f"[data-filter={name}]").uncheck()
    assert shown(tab) == everything


def test_a_choice_of_data_shows_its_settings_alone(tab: Any) -> None:
    tab.locator("[data-filter=dataset]").select_option("cifar")
    assert tab.locator("nav a:visible").count() == 1
    assert "cifar" in tab.locator("section.board:visible h2").inner_text()
    tab.locator("[data-filter=model]").select_option(SCRIPT)
    assert tab.locator("#none").is_visible() and tab.locator("section.board:visible").count() == 0
    for name in ("dataset", "model"):
        tab.locator(f"[data-filter={name}]").select_option("")


def test_the_keyboard_alone_reaches_a_setting_a_filter_and_a_record(tab: Any) -> None:
    tab.reload()
    reached = []
    for _ in range(60):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("(it => it.dataset.filter || it.dataset.board || it.getAttribute('href') || "
                                    "it.tagName)(document.activeElement)"))  # fmt: skip
    assert reached[0] == "#main"
    assert {"dataset", "model", "noforget", "noretain", "b0", "SUMMARY"} <= set(reached)
    assert any(str(name).startswith("records/") for name in reached)
    tab.reload()
    link = tab.locator("nav a[data-board]").nth(1)
    link.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_function("document.activeElement.tagName === 'H2'")
    assert tab.locator("section.board:visible").get_attribute("id") == link.get_attribute("data-board")


def test_on_a_phone_nothing_is_wider_than_the_screen_and_the_list_opens_by_a_tap(tab: Any) -> None:
    tab.set_viewport_size(PHONE)
    tab.reload()
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert not tab.locator("nav").is_visible()
    tab.locator("#settings > summary").click()
    assert tab.locator("nav").is_visible()
    cell = tab.locator("tbody tr:visible td").first
    assert cell.evaluate("it => getComputedStyle(it, '::before').content") == '"rank"', "each cell says what it is"
    tab.set_viewport_size({"width": 1400, "height": 900})


def test_it_asks_the_network_for_nothing_and_complains_of_nothing(tab: Any) -> None:
    assert tab.asked == [] and tab.complaints == []


def test_a_distance_of_fewer_seeds_than_its_row_says_so_and_a_remark_names_the_gap() -> None:
    runs = [record(method, seed) for method in ("unsir", "neggrad") for seed in (0, 1, 2)]
    runs += [record("unsir", seed, run_id=f"one-{seed}", forget_classes=[1]) for seed in (0, 1)]
    alone = [run for run in runs if run.seed == 2]
    for run in alone:
        del run.metrics["retrain_acc_retain_test"], run.metrics["retrain_acc_forget_test"]
    gapped, whole = boards(runs)
    distances = {method.name: method.distance for method in gapped.methods if method.rank}
    assert len(distances) == 2 and all(words.endswith(" (n = 2)") for words in distances.values())
    assert gapped.remarks == ["No retrained model was measured for 2 of 6 runs: nothing to compare them with."]
    assert whole.remarks == [] and not any("(n =" in method.distance for method in whole.methods)


def test_every_option_says_its_value_which_browsers_else_read_without_doubled_spaces(tmp_path: Path) -> None:
    for seed in (0, 1):
        record("unsir", seed, dataset="two  spaces", model="n  n").write(tmp_path / "s" / f"r{seed}")
    page = write_site([read_sweep(tmp_path / "s")], tmp_path / "site").page.read_text(encoding="utf-8")
    assert '<option value="two  spaces">' in page and '<option value="n  n">' in page and "<option>" not in page
