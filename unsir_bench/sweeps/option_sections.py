"""A composed configuration with other options of its groups: only the sections of those groups are composed anew.

For each combination of options Hydra merges all files again, a quarter of a second. Most options are *closed*: their
files name neither another group nor an interpolation in their defaults lists, and set values within their own section
alone. Such an option takes the place of another one without any change to the rest of the final defaults list; so its
section is what Hydra makes of the same list, with the option's files in that place, seen through that section.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.default_element import ConfigDefault, ResultDefault
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

# What is used here of Hydra is private; with any other version, Hydra composes every combination by itself.
SUPPORTED = hydra.__version__.startswith("1.3.")


class NotClosedError(Exception):
    """The options cannot take the place of others: Hydra must compose the whole."""


class Copies:
    """Copies of one configuration. Reading a pickle made here takes a quarter of the time that copying takes."""

    def __init__(self, config: DictConfig):
        """Keep the configuration; nobody may change it later."""
        self._config, self._pickled = config, _pickled(config)

    def new(self) -> DictConfig:
        """A copy of its own."""
        if self._pickled is None:
            return copy.deepcopy(self._config)
        made: DictConfig = pickle.loads(self._pickled)  # noqa: S301 - bytes of this process
        return made


def _pickled(config: DictConfig) -> bytes | None:
    try:
        return pickle.dumps(config, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):  # a class that was defined within a function
        return None


@dataclass
class OptionFiles:
    """Which files an option consists of, as Hydra reads them; each file is read once.

    Attributes:
        loader: Hydra's.
        config_name: of the primary configuration.
        hydra_overrides: those that concern Hydra itself; they may add to its search path.
    """

    loader: ConfigLoaderImpl
    config_name: str
    hydra_overrides: Sequence[str]
    _closed: dict[tuple[str, str], list[ResultDefault] | None] = field(default_factory=dict)

    @cached_property
    def repository(self) -> Any:
        """Hydra's cache of files."""
        overrides = list(self.hydra_overrides)
        return self.loader._parse_overrides_and_create_caching_repo(self.config_name, overrides)[1]

    def final_defaults(self, config_name: str | None, overrides: Sequence[Override]) -> Any:
        """Hydra's final defaults list; that of a ``config_name`` of None has what the overrides add alone."""
        from hydra._internal.defaults_list import create_defaults_list

        return create_defaults_list(
            repo=self.repository,
            config_name=config_name,
            overrides_list=list(overrides),
            prepend_hydra=config_name is not None,
            skip_missing=False,
        )

    def closed(self, group: str, option: str) -> list[ResultDefault] | None:
        """The option's part of a final defaults list; None where other choices, or other sections, take part."""
        if (group, option) not in self._closed:
            self._closed[group, option] = self._find_closed(group, option)
        return self._closed[group, option]

    def _find_closed(self, group: str, option: str) -> list[ResultDefault] | None:
        added = Override(OverrideType.ADD, group, ValueType.ELEMENT, option, input_line=f"+{group}={option}")
        try:
            files: list[ResultDefault] = self.final_defaults(None, [added]).defaults
        except HydraException:
            return None
        plain = all(isinstance(entry, ConfigDefault) for file in files for entry in self._named_by(file))
        inside = all(_within(group, file) for file in files)
        return files if plain and inside and not self.interpolated(files) else None

    def interpolated(self, files: Sequence[ResultDefault]) -> bool:
        """Whether a choice of options decides what one of these files includes."""
        named = (part for file in files for entry in self._named_by(file) for part in vars(entry).values())
        return any("${" in str(part) for part in named)

    def _named_by(self, file: ResultDefault) -> Iterator[Any]:
        loaded = self.repository.load_config(config_path=file.config_path)
        yield from (loaded.defaults_list or ()) if loaded is not None else ()


def _within(section: str, file: ResultDefault) -> bool:
    package = file.package or ""
    return package == section or package.startswith(f"{section}.")


@dataclass
class Composed:
    """A configuration that Hydra composed, and how other options change it.

    Attributes:
        overrides: what it was composed with, those of Hydra's own part included.
        config: without Hydra's own part.
    """

    files: OptionFiles
    overrides: Sequence[Override]
    config: Copies
    _sections: dict[tuple[str, str], DictConfig] = field(default_factory=dict)

    @cached_property
    def _defaults(self) -> Any:
        found = self.files.final_defaults(self.files.config_name, self.overrides)
        if self.files.interpolated(found.defaults):
            raise NotClosedError("a defaults list has an interpolation")
        return found

    def with_options(self, options: Mapping[str, str]) -> DictConfig:
        """A copy that has these options of closed groups in place of its own.

        Raises:
            NotClosedError: an option takes part in more than its own section.
            hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException: a file is wrong.
        """
        changed = self.config.new()
        for group, option in options.items():
            section = self._section(group, option)
            with open_dict(changed):
                OmegaConf.update(changed, group, section, merge=False)
        return changed

    def _section(self, group: str, option: str) -> DictConfig:
        if (group, option) not in self._sections:
            self._sections[group, option] = self._compose_section(group, option)
        return self._sections[group, option]

    def _compose_section(self, group: str, option: str) -> DictConfig:
        files = [file for file in self._in_place(group, option) if not file.package or _within(group, file)]
        whole = {str(file.config_path) for file in files if not file.package}
        seen = _OneSection(self.files.repository, group, whole)
        composed = self.files.loader._compose_config_from_defaults_list(files, seen)  # type: ignore[arg-type]
        section: DictConfig = composed[group]
        return section

    def _in_place(self, group: str, option: str) -> list[ResultDefault]:
        """The final defaults list with one option's files in place of those it has of the group."""
        has: list[ResultDefault] = self._defaults.defaults
        present = self.files.closed(group, self._defaults.overrides.known_choices.get(group) or "")
        wanted = self.files.closed(group, option)
        of_group = [number for number, file in enumerate(has) if _within(group, file)]
        if not present or not wanted or not of_group:
            raise NotClosedError(f"{group}={option}")
        first, last = of_group[0], of_group[-1] + 1
        if [_place(file) for file in has[first:last]] != [_place(file) for file in present]:
            raise NotClosedError(f"{group}={option}")
        return [*has[:first], *wanted, *has[last:]]


def _place(file: ResultDefault) -> tuple[str | None, str | None]:
    return file.config_path, file.package


@dataclass
class _OneSection:
    """Files as Hydra reads them; of those that belong to no section, what they say of one section.

    Attributes:
        whole: paths of the files that belong to no section.
    """

    repository: Any
    section: str
    whole: set[str]

    def get_schema_source(self) -> Any:
        return self.repository.get_schema_source()

    def load_config(self, config_path: str) -> Any:
        loaded = self.repository.load_config(config_path=config_path)
        if config_path not in self.whole:
            return loaded
        own = copy.copy(loaded)  # Hydra merges into what has no section, without copying it
        typed = OmegaConf.get_type(loaded.config) is not dict
        own.config = copy.deepcopy(loaded.config) if typed else OmegaConf.masked_copy(loaded.config, self.section)
        return own
