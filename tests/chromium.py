"""A page in headless Chromium, with what it asked of the network and what it complained of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"
)  # fmt: skip
LOCAL = ("file", "data", "blob")


@contextmanager
def opened_page(path: Path, ready: str = "html[data-ready]") -> Iterator[Any]:
    """The tab with ``asked`` (addresses outside this disk) and ``complaints``; skips without Chromium.

    Args:
        path: of the page.
        ready: a selector that is there once the page is.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: the page cannot be tried in a browser")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=list(FLAGS))
        tab = browser.new_page(viewport={"width": 1400, "height": 900})
        tab.asked, tab.complaints = [], []

        def routed(route: Any) -> None:
            if urlsplit(route.request.url).scheme in LOCAL:
                route.continue_()
            else:
                tab.asked.append(route.request.url)
                route.abort()

        tab.route("**/*", routed)
        tab.on("console", lambda message: tab.complaints.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.on("dialog", lambda dialog: (tab.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.goto(path.resolve().as_uri())
        tab.wait_for_selector(ready, timeout=30_000, state="attached")
        yield tab
        browser.close()
