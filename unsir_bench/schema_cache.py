"""The structure of every config schema, kept in a file, so that a command line can be checked without importing torch.

The schemas are dataclasses beside the code that uses them, and importing those takes seconds. What Hydra needs of them
(names, types, defaults, which class extends which) is plain: it is written as JSON after a start, and dataclasses of
the same shape are made of it at the next. The file answers to the sources it was made from: any change of the code, of
Python, Hydra or OmegaConf makes it worthless. Whatever is wrong with it, there is simply none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import hydra
import omegaconf
from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import OmegaConf
from platformdirs import user_cache_path

from unsir_bench.field_checks import CHECK, Choice, Range
from unsir_bench.records import write_whole

# Raise when the file's form changes.
FORM = 1
PACKAGES = ("unsir_bench", "baselines")
# What a schema is stored under: `unsir_bench.config.register`, `unsir_bench.sweeper.register_sweeper`.
ROOT_SCHEMA, SCHEMA_GROUP, OWN_PROVIDER = "schema_config", "schema", "unsir_bench"
PLAIN_TYPES: dict[str, Any] = {"Any": Any, "None": type(None)} | {t.__name__: t for t in (str, int, float, bool)}
CONTAINERS: dict[str, Any] = {"list": list, "dict": dict}


class NotPlainError(Exception):
    """A schema has something that this file cannot hold: no cache is written, and every start is a slow one."""


@dataclass(frozen=True)
class Schema:
    """A schema as Hydra's store holds it; ``provider`` is shown by Hydra's messages."""

    group: str | None
    name: str
    cls: type[Any]
    provider: str | None = None

    def register(self) -> None:
        """Make it known to Hydra, in place of any of that name."""
        ConfigStore.instance().store(self.name, node=self.cls, group=self.group, provider=self.provider)


class _Shared(dict[str, Any]):
    """A dictionary whose deep copy is itself."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self


def share_store() -> None:
    """Keep Hydra from copying its store of schemas, which it does with each composition and each group that help lists.

    Nothing writes into such a copy, and an entry is copied again when it is loaded; without this, help takes six
    seconds more.
    """
    store = ConfigStore.instance()
    store.repo = _Shared(store.repo)


def remember() -> None:
    """Write the schemas that Hydra knows now, unless they are already there or there is no place for them."""
    if recall() is not None:
        return
    with suppress(OSError, RuntimeError, NotPlainError):
        write_whole(cache_file(), json.dumps({"key": source_key(), **described(registered())}))


def recall() -> list[Schema] | None:
    """The schemas, rebuilt from the file; None where there is no file of these sources."""
    content = _read()
    try:
        return None if content is None else rebuilt(content)
    except (AttributeError, KeyError, TypeError, ValueError):  # of the right key, but not of this project's making
        return None


def _read() -> dict[str, Any] | None:
    try:
        content = json.loads(cache_file().read_text(encoding="utf-8"))
        return content if isinstance(content, dict) and content.get("key") == source_key() else None
    except (OSError, ValueError, RuntimeError):  # RuntimeError: a user without a home
        return None


def cache_file() -> Path:
    """Where the schemas are kept: one file for each copy of the code."""
    place = hashlib.sha256(str(Path(__file__).resolve().parent).encode()).hexdigest()[:16]
    return user_cache_path("unsir-bench") / f"schemas-{place}.json"


@cache
def source_key() -> str:
    """A hash of all that decides the schemas: the code, and what reads the dataclasses."""
    digest = hashlib.sha256(repr((FORM, sys.version, hydra.__version__, omegaconf.__version__)).encode())
    for path in _sources():
        content = path.read_bytes()
        digest.update(f"\n{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            yield from sorted(Path(folder).rglob("*.py"))


def registered() -> list[Schema]:
    """The project's schemas in Hydra's store."""

    def below(level: Mapping[str, Any], group: tuple[str, ...]) -> Iterator[Schema]:
        for name, entry in level.items():
            if not isinstance(entry, ConfigNode):
                yield from below(entry, (*group, name))
            elif group[:1] == (SCHEMA_GROUP,) or entry.provider == OWN_PROVIDER or name == f"{ROOT_SCHEMA}.yaml":
                cls = OmegaConf.get_type(entry.node) or dict  # a schema that is no class is not plain
                yield Schema("/".join(group) or None, name.removesuffix(".yaml"), cls, entry.provider)

    return list(below(ConfigStore.instance().repo, ()))


def described(schemas: Iterable[Schema]) -> dict[str, Any]:
    """The schemas as plain values.

    Raises:
        NotPlainError: a field's type or default, or a class, is of no kind that can be rebuilt.
    """
    classes: dict[str, dict[str, Any]] = {}
    nodes = [[schema.group, schema.name, _class(schema.cls, classes), schema.provider] for schema in schemas]
    return {"classes": classes, "nodes": nodes}


def _class(cls: type[Any], classes: dict[str, dict[str, Any]]) -> str:
    """Describe a dataclass, after those it needs, and return its key."""
    key = f"{cls.__module__}:{cls.__qualname__}"
    if key not in classes:
        if not dataclasses.is_dataclass(cls) or cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            raise NotPlainError(f"{key} is no dataclass whose fields can be set")
        hints = get_type_hints(cls)
        # Every ancestor, not the nearest alone: a plain class may stand between two dataclasses.
        ancestors = [_class(base, classes) for base in cls.__mro__[1:] if dataclasses.is_dataclass(base)]
        fields = [_field(field, hints[field.name], classes) for field in dataclasses.fields(cls)]
        classes[key] = {"bases": ancestors, "fields": fields}
    return key


def _field(field: dataclasses.Field[Any], hint: Any, classes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if not field.init or "omegaconf_ignore" in field.metadata:
        raise NotPlainError(f"{field.name} is no ordinary field")
    described = {"name": field.name, "type": _type(hint, classes), "check": _check(field.metadata.get(CHECK))}
    if field.default_factory is not dataclasses.MISSING:
        described["made"] = _value(field.default_factory(), classes)
    elif field.default is not dataclasses.MISSING:
        described["default"] = _value(field.default, classes)
    return described


def _type(hint: Any, classes: dict[str, dict[str, Any]]) -> Any:
    """A type as its name, or as a list of its kind and its parts."""
    for name, plain in {**PLAIN_TYPES, **CONTAINERS}.items():
        if hint is plain:
            return name
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return ["class", _class(hint, classes)]
    kind = get_origin(hint)
    if kind in (Union, types.UnionType) or kind in CONTAINERS.values():
        word = "union" if kind in (Union, types.UnionType) else kind.__name__
        return [word, *(_type(part, classes) for part in get_args(hint))]
    raise NotPlainError(f"no plain type: {hint}")


def _value(value: Any, classes: dict[str, dict[str, Any]]) -> Any:
    """A default; an object, and a dictionary too, as a list of its kind and its content, so that lists can be told."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _value(getattr(value, field.name), classes) for field in dataclasses.fields(value)}
        return {"object": _class(type(value), classes), "fields": parts}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: _value(part, classes) for key, part in value.items()}}
    if type(value) is list:
        return [_value(part, classes) for part in value]
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise NotPlainError(f"no plain default: {value!r}")


def _check(check: Any) -> Any:
    """A constraint; one of another kind is left out, since the full check of the configuration will see it."""
    kind = {Range: "range", Choice: "choice"}.get(type(check))
    return None if kind is None else [kind, dataclasses.asdict(check)]


def rebuilt(content: Mapping[str, Any]) -> list[Schema]:
    """Schemas from what ``described`` returned: dataclasses with the same fields, names and ancestors, no methods."""
    classes: dict[str, type[Any]] = {}
    for key, described in content["classes"].items():
        module, _, name = key.partition(":")
        bases = tuple(classes[base] for base in described["bases"])
        fields = [_rebuilt_field(field, classes) for field in described["fields"]]
        made = dataclasses.make_dataclass(name.rpartition(".")[2], fields, bases=bases, kw_only=True)
        made.__module__, made.__qualname__ = module, name  # messages show them
        classes[key] = made
    return [Schema(group, name, classes[key], provider) for group, name, key, provider in content["nodes"]]


def _rebuilt_field(described: Mapping[str, Any], classes: Mapping[str, type[Any]]) -> tuple[str, Any, Any]:
    options: dict[str, Any] = {"metadata": {CHECK: _rebuilt_check(*described["check"])} if described["check"] else {}}
    if "made" in described:
        options["default_factory"] = lambda: _rebuilt_value(described["made"], classes)
    elif "default" in described:
        options["default"] = _rebuilt_value(described["default"], classes)
    return described["name"], _rebuilt_type(described["type"], classes), dataclasses.field(**options)


def _rebuilt_type(described: Any, classes: Mapping[str, type[Any]]) -> Any:
    if isinstance(described, str):
        return {**PLAIN_TYPES, **CONTAINERS}[described]
    kind, *parts = described
    if kind == "class":
        return classes[parts[0]]
    inner = tuple(_rebuilt_type(part, classes) for part in parts)
    return Union[inner] if kind == "union" else CONTAINERS[kind][inner]  # noqa: UP007 - known at run time only


def _rebuilt_value(described: Any, classes: Mapping[str, type[Any]]) -> Any:
    if isinstance(described, list):
        return [_rebuilt_value(part, classes) for part in described]
    if not isinstance(described, dict):
        return described
    if "dict" in described:
        return {key: _rebuilt_value(part, classes) for key, part in described["dict"].items()}
    fields = {name: _rebuilt_value(part, classes) for name, part in described["fields"].items()}
    return classes[described["object"]](**fields)


def _rebuilt_check(kind: str, content: dict[str, Any]) -> Range | Choice:
    return Range(**content) if kind == "range" else Choice(tuple(content["options"]))
