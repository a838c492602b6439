"""Sweepers and launchers of this project, made known to Hydra."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin

NAMESPACE = "hydra_plugins.unsir_bench"  # Hydra instantiates plug-ins of `hydra_plugins` alone


def register(plugin: type[Plugin], option: str, settings: type[object]) -> None:
    """Make a plug-in known to Hydra, as ``option`` (``group=name``) of its own groups.

    Hydra finds installed plug-ins by walking the namespace ``hydra_plugins``, which an editable installation hides from
    it: so the class is registered, and found under its name there, without a file of that place.

    Args:
        plugin: a class whose ``__module__`` is ``NAMESPACE``.
        option: such as ``hydra/launcher=devices``.
        settings: a dataclass of its ``_target_`` and the arguments of its ``__init__``.
    """
    top = NAMESPACE.partition(".")[0]
    if find_spec(top) is None:  # no launcher is installed; Hydra walks the package's path, even one that is empty
        sys.modules[top] = module_from_spec(ModuleSpec(top, None, is_package=True))
    namespace = sys.modules.setdefault(NAMESPACE, ModuleType(NAMESPACE))
    setattr(namespace, plugin.__name__, plugin)
    Plugins.instance().register(plugin)
    group, _, name = option.partition("=")
    ConfigStore.instance().store(group=group, name=name, node=settings, provider="unsir_bench")
