"""The page as a reader of HTML sees it: its tables, links, plots and words."""

import json
from html.parser import HTMLParser
from typing import Any

from unsir_bench.report.html.page import Page


class Reader(HTMLParser):
    """The page as a reader of HTML sees it: tables by id, links, plots' JSON, and all visible text."""

    def __init__(self, text: str):
        super().__init__()
        self.tables: dict[str, list[list[tuple[str, dict[str, str]]]]] = {}
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.options: list[dict[str, str]] = []
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
        if tag == "option":
            self.options.append(known)
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


def traces(reader: Reader, plot: str) -> list[dict[str, Any]]:
    return reader.plots[f"s0-{plot}"]["data"]


def named(reader: Reader, plot: str, name: str, forget: str = "single {0}") -> list[dict[str, Any]]:
    found = [trace for trace in traces(reader, plot) if trace.get("name") == name]
    return [trace for trace in found if trace["meta"]["rows"]["forget"] == forget]
