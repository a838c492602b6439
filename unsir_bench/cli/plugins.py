"""Methods, data sets and models of other packages: imported, and their YAML found, without a change to this project.

A package names itself by an entry point of the group ``unsir_bench.plugins``, or the user names it in the environment
variable UNSIR_BENCH_PLUGINS (several separated by commas). Its YAML files lie in its subpackage ``conf``, in folders
named as those of this project: ``conf/method/mine.yaml`` makes ``method=mine``.
"""

from __future__ import annotations

import importlib
import os
from importlib.metadata import entry_points
from importlib.util import find_spec

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

GROUP = "unsir_bench.plugins"
VARIABLE = "UNSIR_BENCH_PLUGINS"


class PluginError(Exception):
    """A plug-in cannot be imported."""


def plugin_names() -> list[str]:
    """Modules to import, each once."""
    installed = [entry.value for entry in entry_points(group=GROUP)]
    given = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    return list(dict.fromkeys([*installed, *given]))


def import_plugins() -> None:
    """Import every plug-in and add its YAML files to Hydra's search path.

    Raises:
        PluginError: one of them cannot be imported.
    """
    for name in plugin_names():
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise PluginError(
                f"plug-in {name} cannot be imported ({error}); it is named by {VARIABLE} or by an installed package's "
                f"entry point {GROUP}: install it, put its folder on PYTHONPATH, or remove the name"
            ) from error
    Plugins.instance().register(PluginSearchPath)


class PluginSearchPath(SearchPathPlugin):
    """Adds the YAML files of plug-ins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append each plug-in's subpackage ``conf``, where it has one."""
        for name in plugin_names():
            if find_spec(name).submodule_search_locations and find_spec(f"{name}.conf") is not None:  # type: ignore[union-attr]
                search_path.append(provider=name, path=f"pkg://{name}.conf")
