"""The jobs of a sweep and their configurations, quickly; nothing but Hydra is imported.

Hydra composes each job from its files, a quarter of a second each. Here a choice of options is composed once, and the
plain values are set on a copy, by Hydra's own function; another choice changes the sections of its options alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from unsir_bench.sweeps.option_sections import SUPPORTED, Composed, Copies, NotClosedError, OptionFiles

PRESET = "what a preset sweeps over is read once, before the grid is made"
PLACE = "a command reports on one folder"
ONE_PER_COMMAND = {"experiment": PRESET, "scale": PRESET, "sweep": PLACE, "outputs": PLACE}


def grid(loader: ConfigLoaderImpl, params: Mapping[str, str], arguments: Sequence[str]) -> list[list[str]]:
    """The overrides of each job, as Hydra's basic sweeper has them; ``arguments`` stand over a preset's ``params``.

    Raises:
        hydra.errors.ConfigCompositionException: what decides the preset, or where records go, is itself swept over.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # Hydra loads it anew when it looks around

    parser = OverridesParser.create(config_loader=loader)
    preset = [f"{key}={value}" for key, value in params.items()]
    jobs: list[list[str]] = BasicSweeper.split_arguments(parser.parse_overrides([*preset, *arguments]), None)[0]
    for key, why in ONE_PER_COMMAND.items():
        chosen = sorted({word for job in jobs for word in job if word.lstrip("+").startswith(f"{key}=")})
        if len(chosen) > 1:
            raise ConfigCompositionException(f"{', '.join(chosen)}: {why}. Give one command for each {key}")
    return jobs


@dataclass
class JobComposer:
    """Composes the configurations of many jobs quickly.

    Attributes:
        loader: Hydra's.
        config_name: of the primary configuration.
        hydra_overrides: those that concern Hydra itself.
    """

    loader: ConfigLoaderImpl
    config_name: str
    hydra_overrides: Sequence[str] = ()
    _parsed: dict[str, Override] = field(default_factory=dict)
    _composed: dict[tuple[str, ...], Copies] = field(default_factory=dict)
    _by_hydra: dict[tuple[str, ...], list[tuple[frozenset[str], Composed]]] = field(default_factory=dict)

    @classmethod
    def of_sweep(cls, loader: ConfigLoaderImpl, master: DictConfig) -> JobComposer:
        """That of a sweep, from its own configuration."""
        return cls(loader, master.hydra.job.config_name, OmegaConf.to_container(master.hydra.overrides.hydra))  # type: ignore[arg-type]

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of one job, without Hydra's own part.

        Raises:
            hydra.errors.HydraException: an override names a key or an option that does not exist, or is a sweep.
        """
        parsed = self.parse(overrides)
        self.loader.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=False)
        chosen = [entry for entry in parsed if self.chooses(entry)]
        lines = tuple(map(_line, chosen))
        if lines not in self._composed:
            self._composed[lines] = Copies(self._compose_options(chosen))
        composed = self._composed[lines].new()
        self.set_values([entry for entry in parsed if entry not in chosen], composed)
        return composed

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Overrides as Hydra's grammar has them."""
        if new := [word for word in overrides if word not in self._parsed]:
            parser = OverridesParser.create(config_loader=self.loader)
            self._parsed |= zip(new, parser.parse_overrides(new), strict=True)
        return [self._parsed[word] for word in overrides]

    def chooses(self, override: Override) -> bool:
        """Whether it chooses an option of a group, or concerns Hydra itself; the rest are plain values."""
        is_group = self.loader.repository.group_exists(override.key_or_group)
        return override.key_or_group.startswith("hydra") or (is_group and not isinstance(override.value(), dict))

    def set_values(self, values: Sequence[Override], composed: DictConfig) -> None:
        """Set plain values.

        Raises:
            hydra.errors.HydraException: a key does not exist, or does not take the value.
        """
        self.loader._apply_overrides_to_config(list(values), composed)

    def _compose_options(self, chosen: Sequence[Override]) -> DictConfig:
        options = self._closed_options(chosen)
        rest = tuple(_line(entry) for entry in chosen if entry.key_or_group not in options)
        known = self._by_hydra.setdefault(rest, [])
        for groups, composed in known:
            if groups <= options.keys():
                with suppress(NotClosedError, HydraException, OmegaConfBaseException):
                    return composed.with_options(options)
        whole = self._compose_whole([_line(entry) for entry in chosen])
        if options:
            overrides = [*self.parse(self.hydra_overrides), *chosen]
            known.append((frozenset(options), Composed(self._files, overrides, Copies(whole))))
        return whole

    def _closed_options(self, chosen: Sequence[Override]) -> dict[str, str]:
        """Options that take part in their own section alone, by group."""
        keys = [entry.key_or_group for entry in chosen]
        if not SUPPORTED or len(set(keys)) < len(keys) or any(key.startswith("hydra") for key in keys):
            return {}
        plain = (entry for entry in chosen if entry.type is OverrideType.CHANGE and entry.package is None)
        options = {entry.key_or_group: entry.value() for entry in plain}
        return {
            group: option
            for group, option in options.items()
            if isinstance(option, str) and "/" not in group and self._files.closed(group, option)
        }

    @cached_property
    def _files(self) -> OptionFiles:
        return OptionFiles(self.loader, self.config_name, self.hydra_overrides)

    def _compose_whole(self, chosen: Sequence[str]) -> DictConfig:
        composed = self.loader.load_configuration(
            config_name=self.config_name,
            overrides=[*self.hydra_overrides, *chosen],
            run_mode=RunMode.RUN,
        )
        with open_dict(composed):
            composed.pop("hydra")
        return composed


def _line(override: Override) -> str:
    return override.input_line or ""
