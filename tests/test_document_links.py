"""Every link of a document leads somewhere, and every path that one names is there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.documents import DOCUMENTS, ROOT, inline, without_fences

# Files that stand for the reader's own.
FILES_OF_READERS = ("conf/method/mine.yaml",)
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"(?:docs|conf|tests|unsir_bench|baselines)/[\w./-]*[\w-]/?")


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", without_fences(text), flags=re.M)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()) for heading in headings]
    slugs = [heading.replace(" ", "-") for heading in plain]
    return {
        slug + (f"-{earlier}" if (earlier := slugs[:place].count(slug)) else "") for place, slug in enumerate(slugs)
    }


def dead_links(document: Path, text: str) -> list[str]:
    """Links of a document to files or headings that are not there; addresses of the network are not asked."""
    links = [link for link in LINK.findall(without_fences(text)) if not re.match(r"\w+:", link)]
    return [link for link in links if not leads_somewhere(document, link, text)]


def leads_somewhere(document: Path, link: str, text: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (document.parent / path).resolve() if path else document
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    if not anchor:
        return True
    return target.suffix == ".md" and anchor in anchors(target.read_text(encoding="utf-8") if path else text)


def test_every_link_of_a_document_leads_somewhere() -> None:
    offenders = {path.name: dead_links(path, path.read_text(encoding="utf-8")) for path in DOCUMENTS}
    assert {name: links for name, links in offenders.items() if links} == {}


def test_every_path_that_a_document_names_is_there() -> None:
    offenders = [
        f"{path.relative_to(ROOT)}:{line}: {code}"
        for path in DOCUMENTS
        for line, code in inline(path.read_text(encoding="utf-8"))
        if PATH.fullmatch(code) and code not in FILES_OF_READERS and not (ROOT / code).exists()
    ]
    assert offenders == []


def test_dead_links_are_found() -> None:
    text = "# A Title: of *two* `words`\n\n## Again\n## Again\n```\n# no heading\n```\n"
    assert anchors(text) == {"a-title-of-two-words", "again", "again-1"}
    links = ["(#again-1)", "(#no-heading)", "(LICENSE)", "(LICENSE#x)", "(nowhere.md)", "(docs/sweeps.md#plug-ins)",
             "(docs/sweeps.md#nothing)", "(../../etc)", "(https://example.org/x)"]  # fmt: skip
    text += " ".join(f"[x]{link}" for link in links)
    assert dead_links(ROOT / "README.md", text) == [
        "#no-heading", "LICENSE#x", "nowhere.md", "docs/sweeps.md#nothing", "../../etc"
    ]  # fmt: skip
