"""Hook of the documentation site: links to files that are no pages become the words they stand on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?<![!`])\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
ROOT = Path(__file__).resolve().parents[1]


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Take away links that leave the site's folder; a link to nothing is left, for the strict build to name."""
    here = Path(page.file.src_uri).parent

    def changed(found: re.Match[str]) -> str:
        words, target = found[1], found[2]
        if re.match(r"\w+:", target):
            return found[0]
        path = Path("docs") / here / target
        known = files.get_file_from_path((here / target).as_posix())
        inside = (ROOT / path).resolve()
        outside = inside.exists() or (ROOT / target).exists()
        return words if known is None and outside and inside.suffix not in (".md", ".png") else found[0]

    return LINK.sub(changed, markdown)
