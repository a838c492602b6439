"""The configuration of a record, composed again: what `reproduce`, `verify` and `evaluate` go by."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, get_type_hints

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unsir_bench.added_fields import without_unknown_additions
from unsir_bench.cli.bootstrap import compose, installed
from unsir_bench.cli.moved_paths import named_files, with_moved_paths
from unsir_bench.cli.plugins import option_files
from unsir_bench.config import Config, note_content, validate
from unsir_bench.data.dataset import DatasetConfig
from unsir_bench.data.forget_config import ForgetConfig
from unsir_bench.data.scale import ScaleConfig
from unsir_bench.errors import UnsirBenchError
from unsir_bench.evaluation.evaluate import MetricsConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.record_checks import fits
from unsir_bench.records import RunRecord
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.tracking.tracker_config import TrackerConfig
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningMethod
from unsir_bench.versions import RESULTS_VERSION

FAMILIES: dict[str, type[Any]] = {"dataset": DatasetConfig, "model": ModelConfig, "method": UnlearningMethod}
SINGLE: dict[str, type[Any]] = {
    "train": Recipe, "forget": ForgetConfig, "metrics": MetricsConfig, "hardware": HardwareConfig,
}  # fmt: skip
PLAIN = ("seed", "unlearn_seed", "retrain_reference", "withheld")


class CannotRepeatError(UnsirBenchError):
    """A run that cannot be done again here; the message says why."""


class AnotherRunError(CannotRepeatError):
    """A record whose configuration is another run here than its id says.

    Attributes:
        of_images: whether its run id depends on names and sizes of image files, which may be others here.
    """

    def __init__(self, message: str, *, of_images: bool):
        super().__init__(message)
        self.of_images = of_images


def config_of(record: RunRecord, moved: Mapping[str, Any] | None = None) -> Config:
    """The configuration of a record, checked, without tracker; its number of threads is that of the recorded run.

    A record names no classes; those are taken that have its fields and give its run id.

    Args:
        record: of any run of this project's.
        moved: paths by their key, of what lies elsewhere than the record says (``moved_paths``).

    Raises:
        CannotRepeatError: it cannot be composed here, or is another run here; says why.
    """
    if record.checkpoints:
        raise CannotRepeatError("its models were made elsewhere: give their files to unsir-bench evaluate again")
    for reason in _untrusted(record):
        raise CannotRepeatError(reason)
    sections = _sections(record, moved or {})
    fixed = {name: _one_of(name, [cls], sections) for name, cls in SINGLE.items()}
    plain = {name: sections[name] for name in PLAIN if name in sections}
    families = [_one_of_family(name, base, sections) for name, base in FAMILIES.items()]
    ids = set()
    for dataset, model, method in itertools.product(*families):
        config = Config(
            dataset=dataset, model=model, method=method, **{name: nodes[0] for name, nodes in fixed.items()}, **plain,
            tracker=TrackerConfig(mode="none"), scale=ScaleConfig(), sweep="reproduce",
        )  # fmt: skip
        ids.add(run_id := _run_id(config))
        if run_id == record.run_id:
            return _checked(config)
    _checked(config)  # where the images are missing, this says it
    files = [f"{name} is another file than the run's (give that one by this key), " for name in named_files(sections)]
    raise AnotherRunError(
        f"its configuration is the run {' or '.join(sorted(ids))} here, not {record.run_id}: the images are others, or "
        f"their files have other names or sizes, {''.join(files)}this machine has another accelerator, "
        "a plug-in is missing, or the code is of another RESULTS_VERSION",
        of_images=type(families[0][0]).content_identity is not DatasetConfig.content_identity,
    )


def _untrusted(record: RunRecord) -> Iterator[str]:
    """Why nothing is composed of a record, in words: somebody else may have written it."""
    for key in _interpolations(record.config, "config"):
        yield f"{key}: holds '${{', by which a configuration reads this machine's environment; no such record is read"
    versions = record.environment.get("versions") or {}
    then = versions.get("RESULTS_VERSION", RESULTS_VERSION) if isinstance(versions, dict) else versions
    if then != RESULTS_VERSION:
        yield f"it is of RESULTS_VERSION {then}; this code gives those of {RESULTS_VERSION}"
    kinds = get_type_hints(Config)
    for name in PLAIN:
        if name in record.config and not fits(record.config[name], kinds[name]):
            yield f"config.{name}={record.config[name]}: is no {getattr(kinds[name], '__name__', kinds[name])}"


def _interpolations(content: Any, key: str) -> Iterator[str]:
    """The keys of all texts that OmegaConf would replace, at any depth."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _interpolations(name, f"{key}.{name}")
            yield from _interpolations(value, f"{key}.{name}")
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from _interpolations(value, f"{key}[{place}]")
    elif isinstance(content, str) and "${" in content:
        yield key


def _run_id(config: Config) -> str:
    try:
        return config.run_id
    except UnsirBenchError as error:  # of a file of indices, which is read for it
        raise CannotRepeatError(str(error)) from error


def _sections(record: RunRecord, moved: Mapping[str, Any]) -> dict[str, Any]:
    """The record's configuration as it is to be composed here."""
    sections = with_moved_paths(record.config, moved)
    hardware = {**sections.get("hardware", {}), "threads": record.environment.get("threads")}
    if hardware.get("accelerator") == "auto" and (device := record.environment.get("device")):
        hardware["accelerator"] = device if device in ("cpu", "mps") else "cuda"  # a GPU is told by its own name
    return {**sections, "hardware": hardware}


def _checked(config: Config) -> Config:
    try:
        validate(config)
        if getattr(config.dataset, "content", None):  # else it is known by its files, as it was
            note_content(config)
    except UnsirBenchError as error:
        raise CannotRepeatError(str(error)) from error
    return config


def _one_of_family(name: str, base: type[Any], sections: Mapping[str, Any]) -> list[Any]:
    # Those of the section's name come first, since an id is computed for each combination until one fits.
    title = str((sections.get(name) or {}).get("name"))
    classes = sorted(dict.fromkeys(installed(base)), key=lambda cls: not title.startswith(cls.name))
    return _one_of(name, classes, sections)


def _one_of(name: str, classes: Sequence[type[Any]], sections: Mapping[str, Any]) -> list[Any]:
    """The section as an object of each class that has its fields.

    Raises:
        CannotRepeatError: no class has.
    """
    given, nodes = sections.get(name), []
    for cls in classes:
        known, values = {field.name for field in fields(cls)}, given
        if isinstance(given, dict):
            values = without_unknown_additions(given, known)
            if not values.keys() <= known:
                continue  # what OmegaConf would find out slowly
        try:
            nodes += _objects(cls, values)
        except (OmegaConfBaseException, ValueError, TypeError):
            nodes += _with_overruled(cls, values)
    if not nodes:
        title = given.get("name") if isinstance(given, dict) else given
        raise CannotRepeatError(
            f"{name}={title}: nothing installed has its settings; name the plug-in that it came from in "
            "UNSIR_BENCH_PLUGINS"
        )
    return nodes


def _objects(cls: type[Any], values: Any) -> list[Any]:
    """The section as an object of a class; of a head on a backbone, one for each class that the backbone fits."""
    if not issubclass(cls, ModelConfig) or not isinstance(values, dict) or not isinstance(values.get("backbone"), dict):
        return [_object(cls, values)]
    backbones = _one_of_family("backbone", ModelConfig, values)
    return [_object(cls, {**values, "backbone": OmegaConf.structured(backbone)}) for backbone in backbones]


def _object(cls: type[Any], values: Any) -> Any:
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), values))


def _with_overruled(cls: type[Any], values: Any) -> list[Any]:
    """The section of a method some of whose numbers another one overruled: the record says null, the run id holds them.

    Tried are the preset's numbers and the class's.
    """
    if not issubclass(cls, UnlearningMethod) or not isinstance(values, dict):
        return []
    told = {key: value for key, value in values.items() if value is not None}
    try:
        node = _object(cls, told)
    except (OmegaConfBaseException, ValueError, TypeError):
        return []
    unknown = [key for key in node.overruled() if key in values and key not in told]
    if values.keys() - told.keys() - set(unknown) - {each.name for each in fields(cls) if each.default is None}:
        return []  # another null, which the class does not take
    if values.get("name") not in option_files("method"):  # a name with ".." would name a file anywhere
        return [node]
    try:
        preset = compose([f"method={values['name']}"]).method
    except (HydraException, UnsirBenchError):
        return [node]
    return [replace(node, **{key: getattr(preset, key) for key in unknown if hasattr(preset, key)}), node]
