"""Files and folders of a record that lie elsewhere now, as the command line gives them: `model.weights=FILE`."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from unsir_bench.config import at_home
from unsir_bench.data.forget_config import ForgetConfig
from unsir_bench.errors import ConfigError

ROOT = "dataset.root"
# Run ids hash the content of all that lies there, and no path.
MOVABLE = (ROOT, "dataset.path", "forget.file", "forget.sequence", "model.weights", "model.backbone.weights")


def is_moved_path(word: str) -> bool:
    """Whether a word of the command line is one of ``MOVABLE`` with a value, and nothing that lies here."""
    key, equals, _ = word.partition("=")
    return bool(equals) and key in MOVABLE and not os.path.lexists(word)


def moved_paths(words: Sequence[str], root: str | None = None) -> dict[str, Any]:
    """Paths by their key; of ``forget.sequence`` the whole list.

    Args:
        words: for which ``is_moved_path`` holds.
        root: of the images, as an option of a command gives it.

    Raises:
        ConfigError: a word gives no path, or several.
        hydra.errors.HydraException: a word cannot be read.
    """
    moved: dict[str, Any] = {} if root is None else {ROOT: root}
    for override in OverridesParser.create().parse_overrides(list(words)):
        key, value = override.key_or_group, override.value()
        if key == "forget.sequence" and isinstance(value, list):
            ForgetConfig(sequence=value).change_files(at_home)
            moved[key] = value
        elif key != "forget.sequence" and isinstance(value, str) and value:
            moved[key] = at_home(value)
        else:
            wanted = "the whole list" if key == "forget.sequence" else "one path, in quotes if it has odd letters"
            raise ConfigError([f"{override.input_line}: give {key} {wanted}"])
    return moved


def with_moved_paths(sections: Mapping[str, Any], moved: Mapping[str, Any]) -> dict[str, Any]:
    """A record's configuration with these paths in it; where it has none, as other runs of a sweep may, none is put."""
    changed = copy.deepcopy(dict(sections))
    for key, path in moved.items():
        node, name = _node(changed, key)
        if node.get(name) is not None or key == ROOT:
            node[name] = path
    return changed


def named_files(sections: Mapping[str, Any]) -> Iterator[str]:
    """``KEY=PATH`` of the files of a record's configuration whose content its run id hashes."""
    for key in MOVABLE[2:]:
        node, name = _node(sections, key)
        if key == "forget.sequence" and not any(_holds_a_file(entry) for entry in node.get(name) or []):
            continue
        if node.get(name) is not None:
            yield f"{key}={node[name]}"


def _holds_a_file(entry: Any) -> bool:
    return isinstance(entry, str) or (isinstance(entry, Mapping) and "file" in entry)


def _node(sections: Mapping[str, Any], key: str) -> tuple[Any, str]:
    """The section that has a key, which may be an empty one of no record, and the key's last word."""
    *above, name = key.split(".")
    node: Any = sections
    for part in above:
        node = node.get(part) if isinstance(node, dict) else None
    return (node if isinstance(node, dict) else {}), name
