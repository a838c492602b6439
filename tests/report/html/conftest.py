"""The page of a sweep whose names hold HTML and scripts, and what a reader of HTML finds in it."""

import pytest

from tests.report.html.hostile_sweep import full_sweep
from tests.report.html.page_reader import Reader, read
from unsir_bench.report.html.page import Page, write_page


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    root = tmp_path_factory.mktemp("pages")
    sweep = full_sweep(root / "my sweep #1 <b>")
    return write_page([sweep], root / "report" / "report.html")


@pytest.fixture(scope="session")
def reader(page: Page) -> Reader:
    return read(page)
