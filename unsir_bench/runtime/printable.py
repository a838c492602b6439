"""Texts of files that others wrote, as a terminal may show them."""

from __future__ import annotations

import re
from typing import Any

# What a terminal obeys (escapes, C0 and C1 controls), what turns text around, and what UTF-8 cannot hold.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(content: Any) -> Any:
    """Plain values whose texts neither a terminal nor a file of text takes for commands."""
    if isinstance(content, dict):
        return {printable(key): printable(value) for key, value in content.items()}
    if isinstance(content, list):
        return [printable(value) for value in content]
    if isinstance(content, str):
        return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], content)
    return content
