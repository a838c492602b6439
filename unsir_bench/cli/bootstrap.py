"""What must have happened before a configuration is composed: everything is imported and known to Hydra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from functools import cache
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unsir_bench.cli.plugins import PluginSearchPath, import_all, option_files, plugin_names
from unsir_bench.config import Config, at_home, note_overrides, typed
from unsir_bench.data.dataset import DatasetConfig
from unsir_bench.data.forget_config import ForgetConfig
from unsir_bench.data.look_again import look_again
from unsir_bench.data.scale import ScaleConfig
from unsir_bench.errors import ConfigError
from unsir_bench.evaluation.evaluate import MetricsConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.references.store import content_key
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.sweeps.composers import composer_of
from unsir_bench.sweeps.devices_launcher import register_devices_launcher
from unsir_bench.sweeps.sweeper import register_sweeper
from unsir_bench.tracking.tracker_config import TrackerConfig
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningMethod

SWEEPS = ("-m", "--multirun")  # Hydra's words for a sweep


@cache
def bootstrap() -> None:
    """Import methods, data sets, models and plug-ins, and register all that Hydra must know; once in a process.

    Raises:
        PluginError: a plug-in cannot be imported.
    """
    import_all()
    bases = {"dataset": DatasetConfig, "model": ModelConfig, "method": UnlearningMethod}
    register_schemas({group: list(installed(base)) for group, base in bases.items()})
    register_sweeper()
    register_devices_launcher()
    Plugins.instance().register(PluginSearchPath)
    store = ConfigStore.instance()
    store.repo = _Shared(store.repo)


def register_schemas(nodes: dict[str, Sequence[type[Any]]]) -> None:
    """Make the schemas and the resolvers of ``conf/`` known to Hydra.

    Args:
        nodes: config node classes by group; each is stored under its field ``name``'s default, outside the group that
            users choose from, so that ``method=glob(*)`` never selects a schema.
    """
    store = ConfigStore.instance()
    store.store(name="schema_config", node=Config)
    single = {
        "train": Recipe,
        "forget": ForgetConfig,
        "metrics": MetricsConfig,
        "hardware": HardwareConfig,
        "tracker": TrackerConfig,
        "scale": ScaleConfig,
    }
    for group, cls in single.items():
        store.store(group=f"schema/{group}", name=group, node=cls)
    for group, classes in nodes.items():
        for cls in classes:
            store.store(group=f"schema/{group}", name=cls.name, node=cls)
    OmegaConf.register_new_resolver("unsir_run_id", _run_id_of, replace=True)
    OmegaConf.register_new_resolver("unsir_path", at_home, replace=True)


def _run_id_of(*, _root_: DictConfig) -> str:
    """The resolver that names a job's folder; a configuration too broken to have an id is named by its text."""
    try:
        return typed(_root_).run_id
    except (ConfigError, OmegaConfBaseException, ValueError, TypeError) as error:
        return f"invalid-{content_key({'error': str(error)})[:10]}"


class _Shared(dict[str, Any]):
    """Hydra's store of schemas, which it copies whole at each composition: its copy is itself.

    Nothing writes into such a copy, and an entry is copied again when it is loaded.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self


def installed(base: type[Any]) -> Iterator[type[Any]]:
    """The concrete subclasses that this project and its plug-ins define, however deep.

    A subclass of a test or a notebook is left out: it may share its name with the class it extends.
    """
    packages = {name.partition(".")[0] for name in ("unsir_bench", *plugin_names())}
    return _concrete(base, packages)


def _concrete(base: type[Any], packages: Set[str]) -> Iterator[type[Any]]:
    for cls in base.__subclasses__():
        if cls.__module__.partition(".")[0] in packages and not getattr(cls, "__abstractmethods__", None):
            yield cls
        yield from _concrete(cls, packages)


def compose(overrides: Sequence[str] = ()) -> Config:
    """The configuration that the command line's words make, for a notebook: ``compose(["method=ssd", "seed=1"])``.

    Files of images are looked at anew: they may have changed since this process listed them.

    Raises:
        hydra.errors.HydraException: an override names a key or an option that does not exist.
        ConfigError: a value is missing or has the wrong type, or a sweep is asked for.
    """
    bootstrap()
    look_again()
    if swept := [word for word in overrides if word in SWEEPS]:
        raise ConfigError(
            [f"{swept[0]}: one run is composed here, and no sweep; leave it out; give each key one value"]
        )
    words = list(with_published(overrides))
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        composer = composer_of(cast(ConfigLoaderImpl, GlobalHydra.instance().config_loader()), "config")
        try:
            composed = composer.compose(words)
        except HydraException:  # Hydra's own words name the file and the options there are
            composed = hydra_compose("config", words)
        config = typed(composed)
    note_overrides(config, overrides)
    return config


def with_published(words: Sequence[str]) -> Iterator[str]:
    """The words, with each method's preset of its authors' values where ``settings=published`` asks for it."""
    presets = option_files("method") if "settings=published" in words else {}
    for word in words:
        key, _, names = word.partition("=")
        chosen = [f"{name}_published" if f"{name}_published" in presets else name for name in names.split(",")]
        yield f"method={','.join(chosen)}" if key == "method" and presets else word


def refuse_limits(config: Config, verb: str) -> None:
    """Refuse limits of a run's own process where a verb starts none.

    Raises:
        ConfigError: a limit was set.
    """
    if found := config.hardware.limits:
        raise ConfigError([f"{limit}: `unsir-bench {verb}` has no limit of time; leave it out" for limit in found])
