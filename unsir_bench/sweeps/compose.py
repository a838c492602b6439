"""The jobs of a sweep and their configurations, quickly; nothing but Hydra is imported.

Hydra composes each job from its files, a fifth of a second each. Here the choices of groups are composed once, and the
plain values are set on a copy, by Hydra's own function.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

ONE_PER_COMMAND = ("experiment", "scale")


def grid(loader: ConfigLoaderImpl, params: Mapping[str, str], arguments: Sequence[str]) -> list[list[str]]:
    """The overrides of each job, as Hydra's basic sweeper has them; ``arguments`` stand over a preset's ``params``.

    Raises:
        hydra.errors.ConfigCompositionException: what decides the preset is itself swept over.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # Hydra loads it anew when it looks around

    parser = OverridesParser.create(config_loader=loader)
    preset = [f"{key}={value}" for key, value in params.items()]
    jobs: list[list[str]] = BasicSweeper.split_arguments(parser.parse_overrides([*preset, *arguments]), None)[0]
    for group in ONE_PER_COMMAND:
        chosen = sorted({word for job in jobs for word in job if word.lstrip("+").startswith(f"{group}=")})
        if len(chosen) > 1:
            raise ConfigCompositionException(
                f"{', '.join(chosen)}: what a preset sweeps over is read once, before the grid is made. "
                f"Give one command for each {group}"
            )
    return jobs


@dataclass
class JobComposer:
    """Composes the configurations of many jobs quickly.

    Attributes:
        loader: Hydra's.
        master: the sweep's own configuration.
    """

    loader: ConfigLoaderImpl
    master: DictConfig
    _composed: dict[tuple[str, ...], DictConfig] = field(default_factory=dict)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of one job, without Hydra's own part.

        Raises:
            hydra.errors.HydraException: an override names a key or an option that does not exist.
        """
        parsed = self.parse(overrides)
        groups = tuple(entry.input_line or "" for entry in parsed if self.chooses(entry))
        if groups not in self._composed:
            self._composed[groups] = self._compose_groups(groups)
        composed = copy.deepcopy(self._composed[groups])
        self.set_values([entry for entry in parsed if not self.chooses(entry)], composed)
        return composed

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Overrides as Hydra's grammar has them."""
        return OverridesParser.create(config_loader=self.loader).parse_overrides(list(overrides))

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

    def _compose_groups(self, groups: Sequence[str]) -> DictConfig:
        hydra_overrides = OmegaConf.to_container(self.master.hydra.overrides.hydra)
        composed = self.loader.load_configuration(
            config_name=self.master.hydra.job.config_name,
            overrides=[*hydra_overrides, *groups],  # type: ignore[misc]
            run_mode=RunMode.RUN,
        )
        with open_dict(composed):
            composed.pop("hydra")
        return composed
