"""The typed configuration of a run: the schemas behind `conf/`, its checks, and the id that names its result."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import II, MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from unsir_bench.config_fields import choice, identity, not_hashed, problems
from unsir_bench.data.dataset import DatasetConfig
from unsir_bench.data.forget_split import ForgetConfig
from unsir_bench.errors import ConfigError, DataError
from unsir_bench.evaluation.evaluate import MetricsConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.references.store import StoreConfig, content_key
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.tracking.run import TrackerConfig
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import Access, UnlearningMethod
from unsir_bench.versions import RESULTS_VERSION, SEQUENCE_VERSION

SECTIONS = ("dataset", "model", "method", "train", "forget", "metrics", "hardware", "tracker", "store")
LONGEST_NAME = 128  # letters of a run's or a group's name in Weights & Biases; folders may have 255


@dataclass
class ScaledData:
    """What the paper's experiments on one data set take at one scale: options of groups by name, and sizes.

    ``subset`` counts images per class and split. ``retain_share`` and ``unsir_batch_size`` are UNSIR's; their defaults
    are those of runs that do not follow the scale.
    """

    dataset: str | None = not_hashed(None)
    subset: int | None = not_hashed(None)
    image_size: int | None = not_hashed(None)
    batch_size: int | None = not_hashed(None)
    unsir_batch_size: int = not_hashed(II("dataset.batch_size"))
    retain_share: float | None = not_hashed(None)
    train: str | None = not_hashed(None)
    resnet18: str | None = not_hashed(None)
    allcnn: str | None = not_hashed(None)
    mobilenetv2: str | None = not_hashed(None)
    vit: str | None = not_hashed(None)


@dataclass
class ScaledUnsir:
    """The name and the values of ``method=scaled/unsir`` at one scale."""

    name: str = not_hashed("unsir")
    noise_steps: int = not_hashed(40)
    noise_copies: int = not_hashed(20)
    impair_lr: float = not_hashed(0.02)
    repair_lr: float = not_hashed(0.01)


@dataclass
class ScaleConfig:
    """The scale at which the paper's experiments are composed.

    Run ids ignore it: presets refer to its values, and only what they thereby set is hashed. ``compared`` (presets of
    UNSIR) and ``seeds`` are lists separated by commas, as sweeps take them. ``data`` names the field whose values
    apply; it is ``plain`` except in presets that follow the scale.
    """

    name: str = not_hashed("cpu")
    seeds: str = not_hashed("0,1,2")
    compared: str = not_hashed("unsir")
    metrics: str = not_hashed("standard")
    fast: str = not_hashed("fast")
    cpu_threads: int | None = not_hashed(None)
    unsir: ScaledUnsir = not_hashed(field(default_factory=ScaledUnsir))  # noqa: RUF009 - a field
    data: str = not_hashed(choice("plain", ("plain", "cifar10", "cifar100", "vggface100")))
    plain: ScaledData = not_hashed(field(default_factory=ScaledData))  # noqa: RUF009 - a field
    cifar10: ScaledData = not_hashed(field(default_factory=ScaledData))  # noqa: RUF009 - a field
    cifar100: ScaledData = not_hashed(field(default_factory=ScaledData))  # noqa: RUF009 - a field
    vggface100: ScaledData = not_hashed(field(default_factory=ScaledData))  # noqa: RUF009 - a field


@dataclass
class Config:
    """One run."""

    dataset: DatasetConfig = MISSING
    model: ModelConfig = MISSING
    method: UnlearningMethod = MISSING
    train: Recipe = MISSING
    forget: ForgetConfig = MISSING
    metrics: MetricsConfig = MISSING
    hardware: HardwareConfig = MISSING
    tracker: TrackerConfig = MISSING
    store: StoreConfig = field(default_factory=StoreConfig)
    seed: int = 0
    sweep: str = not_hashed("runs")
    outputs: str = not_hashed("multirun_outputs")
    save_model: bool = not_hashed(False)
    isolate: bool = not_hashed(True)
    retrain_reference: bool = True
    withheld: list[str] = field(default_factory=list)
    scale: ScaleConfig = MISSING
    at_scale: str | None = not_hashed(None)

    @property
    def channels_last(self) -> bool:
        """Whether to use the channels-last memory layout: as the hardware config says, else as suits the model."""
        wish = self.hardware.channels_last
        return self.model.channels_last if wish is None else wish

    @property
    def numerics(self) -> dict[str, object]:
        """The hardware settings that change numbers."""
        return self.hardware.numerics(self.channels_last)

    @property
    def run_id(self) -> str:
        """A readable name with a hash of all that affects the result; paths, tracker and thread counts do not."""
        sections = ("dataset", "model", "method", "train", "forget", "metrics")
        parts = {name: identity(getattr(self, name)) for name in sections} | {"forget": identity(self._forget_by_index)}
        if not self.retrain_reference:
            parts["retrain_reference"] = False
        if self.forget.sequence is not None:
            parts["sequence_version"] = SEQUENCE_VERSION
        if self.withheld:
            parts["withheld"] = sorted(self.withheld)
        digest = content_key({**parts, "seed": self.seed, "numerics": self.numerics, "version": RESULTS_VERSION})
        words = (self.method.name, self.dataset.name, self.model.name, self.forget.title, f"s{self.seed}", digest[:10])
        text = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words)
        return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 11]}-{content_key({'id': text})[:10]}"

    @property
    def _forget_by_index(self) -> ForgetConfig:
        try:
            return self.forget.by_index(self.dataset.class_names)
        except DataError:
            return self.forget

    @property
    def folder(self) -> Path:
        """Where the run's record is written."""
        return Path(self.outputs) / self.sweep / self.run_id

    def as_plain(self) -> dict[str, Any]:
        """The configuration as plain values, for the record and the tracker.

        Of the scale it holds the name alone, and null for the method's overruled fields.
        """
        method = asdict(self.method) | dict.fromkeys(self.method.overruled())
        return {**asdict(self), "method": method, "scale": {"name": self.scale.name}}


def validate(config: Config) -> tuple[str, ...]:
    """Check everything that can be checked before any work, and return the class names.

    Raises:
        ConfigError: at least one setting is wrong; the message lists all.
    """
    found = [line for name in SECTIONS for line in problems(getattr(config, name), name)]
    found += _general_problems(config)
    names: Sequence[str] = ()
    try:
        names = config.dataset.class_names()
    except DataError as error:
        found.append(str(error))
    else:
        found += config.forget.problems(names)
    if found:
        raise ConfigError(found)
    return tuple(names)


def _general_problems(config: Config) -> Iterator[str]:
    if config.seed < 0:
        yield f"seed={config.seed}: must be at least 0"
    kinds = [access.value for access in Access]
    for word in config.withheld:
        if word not in kinds:
            yield f"withheld: {word!r} is no kind of access; known are {', '.join(kinds)}"
    yield from sweep_problems(config.sweep)


def sweep_problems(sweep: str) -> Iterator[str]:
    """A line for each reason why a sweep's name is no name of a folder of records."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", sweep) or sweep in ("store", "report", ".", ".."):
        letters = "must be a folder name of letters, digits, '_', '-' and '.'"
        yield f"sweep={sweep}: {letters}, other than 'store' and 'report'"
    if len(sweep) > LONGEST_NAME:
        yield f"sweep={sweep}: has {len(sweep)} letters; {LONGEST_NAME} is the most"


def typed(composed: DictConfig) -> Config:
    """The composed configuration as objects.

    Raises:
        ConfigError: a mandatory value is missing or has the wrong type.
    """
    own = copy.deepcopy(composed)
    with open_dict(own):
        own.pop("hydra", None)
    if unknown := list(_unknown_keys(own)):
        hint = "there is no such key, and `+` makes none; `unsir-bench --cfg job` prints every key"
        raise ConfigError([f"{key}: {hint}" for key in unknown])
    try:
        config = OmegaConf.to_object(own)
    except OmegaConfBaseException as error:
        raise ConfigError([_complaint(error)]) from error
    if not isinstance(config, Config):
        raise TypeError(f"the composed configuration is a {type(config).__name__}: its schema was not registered")
    paths = ((config, "outputs"), (config.store, "root"), (config.dataset, "root"), (config.model, "weights"))
    for node, name in paths:
        if path := getattr(node, name):
            setattr(node, name, at_home(path))
    return config


def _unknown_keys(node: DictConfig, within: str = "") -> Iterator[str]:
    """Keys that `+key=value` added to a section, which objects would silently hold and nobody read."""
    section = OmegaConf.get_type(node)
    known = {each.name for each in fields(section)} if is_dataclass(section) else None
    for key in map(str, node):
        if known is not None and key not in known:
            yield f"{within}{key}"
        elif isinstance(child := node._get_node(key), DictConfig) and not (child._is_none() or child._is_missing()):
            yield from _unknown_keys(child, f"{within}{key}.") if not child._is_interpolation() else ()


def at_home(path: str) -> str:
    """The path with the user's folder in place of a ``~`` at its start, which a quoted word keeps from the shell."""
    return os.path.expanduser(path)  # noqa: PTH111 - pathlib raises where there is no home


def _complaint(error: OmegaConfBaseException) -> str:
    key = error.full_key or "configuration"
    group = key.removesuffix(".name")
    if isinstance(error, MissingMandatoryValue) and group in SECTIONS:
        return f"{group}: no option is chosen; give {group}=NAME. An experiment chooses one in its sweep: add -m"
    return f"{key}: {str(error).splitlines()[0]}"


def register(nodes: dict[str, Sequence[type[Any]]]) -> None:
    """Make the schemas known to Hydra.

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
