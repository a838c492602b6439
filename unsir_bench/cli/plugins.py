"""Everything that a configuration may name: the modules of this project and of users' packages, and their YAML.

A user's package needs no change to this project: an entry point of the group ``unsir_bench.plugins`` names it, or the
environment variable UNSIR_BENCH_PLUGINS (several separated by commas). Its subclasses of ``UnlearningMethod``,
``DatasetConfig`` and ``ModelConfig`` are registered once they are imported. Its YAML files lie in its subpackage
``conf``, in folders named as those of this project: ``conf/method/mine.yaml`` makes ``method=mine``.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from unsir_bench.errors import UnsirBenchError
from unsir_bench.records import printable

GROUP = "unsir_bench.plugins"
VARIABLE = "UNSIR_BENCH_PLUGINS"
# Every module of these packages is imported: a new method, data set or model is one new file.
PACKAGES = ("unsir_bench.data", "unsir_bench.models", "unsir_bench.unlearning", "unsir_bench.baselines")

IMPORTED_PLUGINS = "unsir_bench.cli.imported_plugins"
# What runs import late: imported before any clock runs, and once for all runs of a sweep.
LIBRARIES = (
    "torchvision", "lightning_fabric.strategies.ddp", "scipy.special", "sklearn.datasets", "sklearn.linear_model",
    "sklearn.metrics", "sklearn.model_selection", "sklearn.neighbors", "sklearn.svm",
)  # fmt: skip
# What Weights & Biases imports when a run starts: two seconds each time.
TRACKING = ("wandb", "wandb.sdk.launch")


class PluginError(UnsirBenchError):
    """A plug-in cannot be imported."""


def plugin_names() -> list[str]:
    """Modules to import, each once."""
    installed = [entry.value for entry in entry_points(group=GROUP)]
    given = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    return list(dict.fromkeys([*installed, *given]))


def own_modules() -> list[str]:
    """The modules of this project that define methods, data sets and models."""
    found = ((package, pkgutil.iter_modules(_places(package))) for package in PACKAGES)
    modules = [f"{package}.{module.name}" for package, inside in found for module in inside]
    return [name for name in modules if "._" not in name]  # such a module is slow, and imported where it is used


def _places(package: str) -> list[str]:
    """The folders of a package; none where it is a single module, or absent."""
    spec = find_spec(package)
    return list(spec.submodule_search_locations or ()) if spec else []


def import_all() -> None:
    """Import what a configuration may name: this project's modules and every plug-in.

    Raises:
        PluginError: a plug-in cannot be imported.
    """
    for name in own_modules():
        importlib.import_module(name)
    for name in plugin_names():
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            reason = printable(" ".join(f"{type(error).__name__}: {error}".split()))
            raise PluginError(
                f"plug-in {name} cannot be imported ({reason}); it is named by {VARIABLE} or by an installed package's "
                f"entry point {GROUP}: install it, put its folder on PYTHONPATH, mend it, or remove the name"
            ) from error


def modules_of_runs(*, tracked: bool) -> list[str]:
    """All that a run imports, the plug-ins included; with ``tracked``, also for Weights & Biases."""
    return ["unsir_bench.runner", *LIBRARIES, *own_modules(), IMPORTED_PLUGINS, *(TRACKING if tracked else ())]


def conf_packages() -> list[str]:
    """Packages of YAML files: this project's, then those of plug-ins that have one."""
    packages = [name for name in plugin_names() if _places(name)]
    return ["unsir_bench.conf", *(f"{name}.conf" for name in packages if _places(f"{name}.conf"))]


def option_files(group: str) -> dict[str, Path]:
    """The YAML file of each option of a group, in order of name; plug-ins' come last."""
    places = [Path(place) for name in conf_packages() for place in _places(name)]
    return {file.stem: file for place in places for file in sorted((place / group).glob("*.yaml"))}


class PluginSearchPath(SearchPathPlugin):
    """Adds the YAML files of plug-ins to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the subpackage ``conf`` of each plug-in that has one."""
        for package in conf_packages()[1:]:
            search_path.append(provider=package.removesuffix(".conf"), path=f"pkg://{package}")
