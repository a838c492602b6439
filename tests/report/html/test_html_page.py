"""The page as a whole: which sweeps and records it tells of, its links, and text that stays text."""

import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.report.html.hostile_sweep import IMAGE, SCRIPT, record, swept
from tests.report.html.page_reader import Reader, read, traces
from unsir_bench.report.folders import gathered, read_sweep, sweep_folders
from unsir_bench.report.html.page import Page, write_page


def test_every_link_leads_to_a_file_that_exists(page: Page, reader: Reader) -> None:
    links = [address for address in reader.addresses if not address.startswith("#")]
    targets = {(page.path.parent / unquote(address)).resolve() for address in links}
    folder = page.path.parent.parent / "my sweep #1 <b>"
    assert {path for path in targets if path.name == "record.json"} == set(folder.resolve().glob("*/record.json"))
    assert all(target.exists() for target in targets)
    assert not any(urlsplit(address).scheme or address.startswith("/") for address in links)


@pytest.mark.parametrize("name", ["records.jsonl", "records.jsonl.xz"])
def test_links_of_gathered_records_lead_to_their_file(tmp_path: Path, name: str) -> None:
    found = swept(tmp_path / "s", [record()])
    content = gathered(found).encode()
    (tmp_path / "gathered").mkdir()
    (tmp_path / "gathered" / name).write_bytes(lzma.compress(content) if name.endswith("xz") else content)
    written = write_page([read_sweep(tmp_path / "gathered")], tmp_path / "report.html")
    links = {unquote(address) for address in read(written).addresses if not address.startswith("#")}
    assert f"gathered/{name}" in links and all((tmp_path / link).exists() for link in links)


def test_a_page_beside_gathered_records_links_to_their_folder(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(gathered(swept(tmp_path / "s" / "mine", [record()])))
    found = read(write_page([read_sweep(tmp_path)], tmp_path / "report.html"))
    links = {address for address in found.addresses if not address.startswith("#")}
    assert {"./", "records.jsonl"} <= links
    assert all((tmp_path / link).resolve().is_relative_to(tmp_path.parent) for link in links)


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
    found = read(write_page([read_sweep(folder)], tmp_path / "report.html"))
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


def test_sweeps_are_found_at_any_depth_but_not_in_the_store_or_the_report(tmp_path: Path) -> None:
    for place in ("a/run", "deep/er/b/run", "store/entries/run", "report/old/run"):
        record().write(tmp_path / place)
    assert sweep_folders(tmp_path) == [tmp_path / "a", tmp_path / "deep" / "er" / "b"]
    assert sweep_folders(tmp_path / "a") == [tmp_path / "a"]


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

    # Lists of customdata end with method and setting as the lists above the tables spell them; nothing draws those.
    drawn = [text for plot in reader.plots.values() for one in plot["data"] for text in strings(one)]
    assert any("&lt;img src=x" in text for text in drawn)
    assert {text for text in drawn if "<img" in text or "<script" in text} <= {IMAGE}
    for one in traces(reader, "trade-off"):
        assert all("<img" not in point[0] for point in one["customdata"])


def test_nothing_on_the_page_points_to_the_network(page: Page, reader: Reader) -> None:
    assert not [address for address in reader.addresses if re.match(r"(?i)\s*(https?:|//|javascript:|ftp:)", address)]
    assert "default-src 'none'" in page.path.read_text()
    assert page.path.stat().st_size < 8e6


def test_every_option_says_its_value_which_browsers_else_read_without_doubled_spaces(reader: Reader) -> None:
    assert len(reader.options) > 3 and all("value" in attributes for attributes in reader.options)
