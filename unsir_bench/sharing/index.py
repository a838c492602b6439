"""The list of what a shared store holds: each file's path and sha256, itself protected by a hash."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from unsir_bench.errors import DamagedEntryError
from unsir_bench.records import digest, printable

INDEX = "index.json"
FORMAT = 1
NOT_SHARED = "is no name of a shared file"
# Names of files come from whoever shares: nothing else is ever read or written.
ENTRY_FILE = re.compile(
    r"entries/(?P<key>[0-9a-f]{16})/(?P<name>manifest\.json|manifest\.sha256|[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors)"
)
RECORD = re.compile(r"records/[0-9a-f]{64}\.json")
HASH = re.compile(r"[0-9a-f]{64}")


@dataclass
class Index:
    """What a shared store holds.

    Attributes:
        files: sha256 by path: ``entries/<key>/<name>`` and ``records/<sha256>.json``.
        strange: names that are neither.
    """

    files: dict[str, str] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)

    def content(self) -> bytes:
        """As it is written."""
        return _rendered({"format": FORMAT, "files": self.files})

    @classmethod
    def parsed(cls, content: bytes) -> Index:
        """Read an index.

        Raises:
            DamagedEntryError: it is not what was written.
        """
        try:
            given: dict[str, Any] = json.loads(content)
            if given["format"] != FORMAT:
                raise DamagedEntryError(f"{INDEX} has format {printable(str(given['format']))}, not {FORMAT}")
            if content != _rendered(given):  # to the last blank: any other byte is damage
                raise DamagedEntryError(f"{INDEX} does not match its hash")
            files = {path: hashed for path, hashed in given["files"].items() if _known(path, hashed)}
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise DamagedEntryError(f"{INDEX} cannot be read ({type(error).__name__}: {error})") from error
        return cls(files, [path for path in given["files"] if path not in files])

    def entries(self) -> dict[str, dict[str, str]]:
        """For each key its files: paths by name."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for path in self.files:
            if parts := ENTRY_FILE.fullmatch(path):
                found[parts["key"]][parts["name"]] = path
        return dict(found)

    def records(self) -> list[str]:
        """Paths of the records."""
        return [path for path in self.files if RECORD.fullmatch(path)]


def may_be_shared(path: str) -> bool:
    """Whether a shared store may hold a file of this name."""
    return path == INDEX or bool(ENTRY_FILE.fullmatch(path) or RECORD.fullmatch(path))


def _known(path: str, hashed: object) -> bool:
    return path != INDEX and may_be_shared(path) and isinstance(hashed, str) and bool(HASH.fullmatch(hashed))


def _rendered(content: dict[str, Any]) -> bytes:
    whole = {**content, "digest": digest(content)}
    return json.dumps(whole, indent=1, sort_keys=True).encode() + b"\n"
