"""The typed configuration of a run: the schemas behind `conf/`, its checks, and the id that names its result."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from unsir_bench.config_fields import TOO_LARGE, WHOLE_NUMBERS, choice, identity, not_hashed, problems
from unsir_bench.data.dataset import DatasetConfig
from unsir_bench.data.forget_config import ForgetConfig
from unsir_bench.data.scale import ScaleConfig
from unsir_bench.errors import ConfigError, DataError
from unsir_bench.evaluation.evaluate import MetricsConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.references.store import StoreConfig, content_key
from unsir_bench.references.tuned_values import TunedValues, set_values, tuned_values_path
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.runtime.progress import Progress
from unsir_bench.runtime.strict_json import plain
from unsir_bench.tracking.tracker_config import TrackerConfig
from unsir_bench.training.privacy import private_training_problems
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import Access, UnlearningMethod
from unsir_bench.versions import RESULTS_VERSION, SAMPLES_VERSION, SEQUENCE_VERSION

SECTIONS = ("dataset", "model", "method", "train", "forget", "metrics", "hardware", "tracker", "store")
SETTINGS = ("preset", "tuned", "published")  # whose values a method gets
PROVENANCE = ("settings", "study")  # of a method
LONGEST_NAME = 128  # letters of a run's or a group's name in Weights & Biases; folders may have 255


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
    unlearn_seed: int | None = None
    sweep: str = not_hashed("runs")
    outputs: str = not_hashed("multirun_outputs")
    save_model: bool = not_hashed(True)
    isolate: bool = not_hashed(True)
    retrain_reference: bool = True
    withheld: list[str] = field(default_factory=list)
    settings: str = not_hashed(choice("preset", SETTINGS))
    scale: ScaleConfig = MISSING
    at_scale: str | None = not_hashed(None)

    @property
    def channels_last(self) -> bool:
        """Whether to use the channels-last memory layout: as the hardware config says, else as suits the model."""
        wish = self.hardware.channels_last
        return self.model.channels_last if wish is None else wish

    @property
    def method_seed(self) -> int:
        """What the method's draws depend on: ``unlearn_seed``, by default the training seed."""
        return self.seed if self.unlearn_seed is None else self.unlearn_seed

    @property
    def numerics(self) -> dict[str, object]:
        """The hardware settings that change numbers."""
        return self.hardware.numerics(self.channels_last)

    @property
    def run_id(self) -> str:
        """A readable name with a hash of all that affects the result; paths, tracker and thread counts do not."""
        measured = {"metrics": identity(self.metrics)}
        if not self.retrain_reference:
            measured["retrain_reference"] = False
        return self.name_with(content_key({**self._what_unlearns, **measured}))

    def name_with(self, digest: str) -> str:
        """A run id that ends in the beginning of ``digest``."""
        seeds = f"s{self.seed}" if self.method_seed == self.seed else f"s{self.seed}u{self.method_seed}"
        words = (self.method.name, self.dataset.name, self.model.name, self.forget.title, seeds, digest[:10])
        text = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words)
        return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 11]}-{content_key({'id': text})[:10]}"

    @property
    def unlearning_id(self) -> str:
        """A hash of all that affects the unlearned weights: that of the run id without the metrics."""
        return content_key(self._what_unlearns)

    @property
    def _what_unlearns(self) -> dict[str, Any]:
        sections = ("dataset", "model", "method", "train")
        parts = {name: identity(getattr(self, name)) for name in sections} | {"forget": identity(self._forget_by_index)}
        if self.forget.sequence is not None:
            parts["sequence_version"] = SEQUENCE_VERSION
        if self.method.tells_samples_apart and any(request.of_samples for request in self.forget.requests()):
            parts["samples_version"] = SAMPLES_VERSION
        if self.withheld:
            parts["withheld"] = sorted(self.withheld)
        if self.method_seed != self.seed:
            parts["unlearn_seed"] = self.method_seed
        return {**parts, "seed": self.seed, "numerics": self.numerics, "version": RESULTS_VERSION}

    @property
    def _forget_by_index(self) -> ForgetConfig:
        try:
            return self.forget.by_index(self.dataset.class_names, self.dataset)
        except (DataError, ConfigError):
            return self.forget

    @property
    def folder(self) -> Path:
        """Where the run's record is written."""
        return Path(self.outputs) / self.sweep / self.run_id

    def as_plain(self) -> dict[str, Any]:
        """The configuration as plain values, for the record and the tracker.

        Of the scale it holds the name alone, and null for the method's overruled fields.

        Raises:
            TypeError: a plug-in's field holds what JSON has not, such as bytes.
        """
        method = asdict(self.method) | dict.fromkeys(self.method.overruled())
        for name in PROVENANCE:  # a record says it at its top
            del method[name]
        values: dict[str, Any] = plain({**asdict(self), "method": method, "scale": {"name": self.scale.name}})
        return values


def validate(config: Config) -> tuple[str, ...]:
    """Check everything that can be checked before any work, and return the class names.

    Raises:
        ConfigError: at least one setting is wrong; the message lists all.
    """
    found = [line for name in SECTIONS for line in problems(getattr(config, name), name)]
    found += _general_problems(config)
    found += _forget_problems(config)
    names: tuple[str, ...] = () if found else tuple(config.dataset.class_names())
    if found or (found := list(_reported_on_tuning(config, names))):
        raise ConfigError(found)
    return names


def _forget_problems(config: Config) -> Iterator[str]:
    try:
        yield from config.forget.problems(config.dataset.class_names(), config.dataset)
    except DataError as error:
        yield str(error)


def _general_problems(config: Config) -> Iterator[str]:
    if config.seed < 0:
        yield f"seed={config.seed}: must be at least 0"
    if config.unlearn_seed is not None and config.unlearn_seed < 0:
        yield f"unlearn_seed={config.unlearn_seed}: must be at least 0, or null: the training seed"
    for name in ("seed", "unlearn_seed"):
        if (getattr(config, name) or 0) >= WHOLE_NUMBERS:
            yield f"{name}={getattr(config, name)}: {TOO_LARGE}"
    if config.metrics.bank_size and config.forget.sequence is not None:
        yield f"metrics.bank_size={config.metrics.bank_size}: must be 0 for a forget.sequence; a bank is of one request"
    if config.metrics.bank_size and not config.retrain_reference:
        yield f"metrics.bank_size={config.metrics.bank_size}: needs retrained models; set retrain_reference=true"
    owner = getattr(config.model, "backbone", config.model)
    path, key = getattr(owner, "weights", None), "model" if owner is config.model else "model.backbone"
    if config.dataset.normalisation == "weights" and path and not config.model.statistics_of_weights():
        words = f"{key}.weights={path}: a file of weights does not tell their mean and std"
        how = "set dataset.normalisation=dataset, and dataset.mean and dataset.std to them"
        yield f"dataset.normalisation=weights, {words}; {how}"
    yield from private_training_problems(config)
    in_double = config.hardware.precision == "64-true" or config.model.frozen_backbone
    if in_double and config.hardware.resolved_accelerator() == "mps":
        yield "hardware.accelerator=mps: has no float64, which 64-true and solved heads need; set hardware=cpu"
    if config.model.frozen_backbone and config.hardware.precision == "bf16-true":
        yield "hardware.precision=bf16-true: rounds a frozen backbone and its solved head to 16 bits; set it to 32-true"
    kinds = [access.value for access in Access]
    for word in config.withheld:
        if word not in kinds:
            yield f"withheld: {word!r} is no kind of access; known are {', '.join(kinds)}"
    yield from (f"{limit}: needs isolate=true" for limit in config.hardware.limits if not config.isolate)
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
    own = composed
    if "hydra" in composed:
        own = copy.deepcopy(composed)
        with open_dict(own):
            own.pop("hydra")
    if unknown := list(_unknown_keys(own)):
        hint = "there is no such key, and `+` makes none; `unsir-bench --cfg job` prints every key"
        raise ConfigError([f"{key}: {hint}" for key in unknown])
    try:
        config = OmegaConf.to_object(own)
    except OmegaConfBaseException as error:
        raise ConfigError([_complaint(error)]) from error
    if not isinstance(config, Config):
        raise TypeError(f"the composed configuration is a {type(config).__name__}: its schema was not registered")
    if config.dataset.normalisation == "weights" and (statistics := config.model.statistics_of_weights()):
        config.dataset.mean, config.dataset.std = statistics
    for node, name in paths_of(config):
        if path := getattr(node, name):
            setattr(node, name, at_home(path))
    config.forget.change_files(at_home)
    if config.settings != "preset":
        _choose_values(config)
    note_content(config)
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


def paths_of(config: Config) -> tuple[tuple[Any, str], ...]:
    """Each node of a configuration that has a field of a path, and the field's name; ``forget`` may hold several."""
    named = [(config, "outputs"), (config.store, "root"), (config.dataset, "root"), (config.model, "weights")]
    if hasattr(config.model, "backbone"):
        named.append((config.model.backbone, "weights"))
    return (*named, *([(config.dataset, "path")] if hasattr(config.dataset, "path") else []))


def note_content(config: Config) -> None:
    """Note, in place, which images the configuration is of; they stay undecoded where ``validate`` will refuse it.

    Raises:
        ConfigError: an image cannot be used, or ``dataset.content`` says that they are others.
    """
    decodes = type(config.dataset).note_content is not DatasetConfig.note_content
    if not decodes or _refused_on_any_machine(config):
        return
    try:
        config.dataset.note_content(Progress())
    except DataError as error:
        raise ConfigError([str(error)]) from error


def _refused_on_any_machine(config: Config) -> bool:
    """Whether ``validate`` will refuse it wherever the run is done.

    A login node may lack what its runs have, such as a package for ``train.privacy``, and must name the same run.
    """
    try:
        sections = {name: getattr(config, name) for name in ("dataset", "model", "method", "forget")}
        sections["train"] = replace(config.train, privacy=None)
        found = chain.from_iterable(problems(node, name) for name, node in sections.items())
        return any(found) or any(_forget_problems(config))
    except Exception:  # of a plug-in's check: it breaks again in the run, whose record tells
        return True


def _choose_values(config: Config) -> None:
    """Give the method the values that ``settings`` asks for, in place.

    Raises:
        ConfigError: there are none, or a study chose them on what this run reports.
    """
    method, key = config.method, f"settings={config.settings}"
    if config.settings not in SETTINGS:
        raise ConfigError([f"{key}: must be one of {', '.join(SETTINGS)}"])
    if method.settings == "none":
        return
    if config.settings == "published":
        if method.settings == "published":
            return
        raise ConfigError([f"{key}: method={method.name} has no values of its authors; choose method=..._published"])
    path = tuned_values_path(config.store.root, method.name, config.dataset.name, config.model.name)
    tuned = TunedValues.read(path, key)
    try:
        set_values(config, tuned.values)
    except AttributeError as error:
        raise ConfigError([f"{key}: {path} is of another method ({error}); tune again"]) from error
    method.settings, method.study = "tuned", tuned.study


def note_overrides(config: Config, overrides: Sequence[str]) -> None:
    """Note in the method, in place, that a person set some of its values.

    Raises:
        ConfigError: they would stand against ``settings``.
    """
    own = [word for word in overrides if word.lstrip("+~").startswith("method.")]
    if own and config.settings != "preset":
        raise ConfigError([f"{own[0]}: not beside settings={config.settings}, which sets the method's values"])
    if own:
        config.method.settings, config.method.study = "user", ""


def _reported_on_tuning(config: Config, class_names: Sequence[str]) -> Iterator[str]:
    """Complaints about a run that would report what its method's values were chosen on."""
    if config.settings != "tuned" or config.method.settings == "none":
        return
    path = tuned_values_path(config.store.root, config.method.name, config.dataset.name, config.model.name)
    tuned = TunedValues.read(path, "settings=tuned")
    shared = set(config.forget.resolve(class_names, config.seed)) & {one for group in tuned.forget for one in group}
    if shared:
        yield (
            f"forget: the study {tuned.study} chose the method's values on classes {sorted(shared)}; "
            "forget others, or tune on others by --forget"
        )
    if config.seed == tuned.seed:
        yield f"seed={config.seed}: the study {tuned.study} chose the method's values with this seed; take another"


def at_home(path: str) -> str:
    """The path with the user's folder in place of a ``~`` at its start, which a quoted word keeps from the shell."""
    return os.path.expanduser(path)  # noqa: PTH111 - pathlib raises where there is no home


def _complaint(error: OmegaConfBaseException) -> str:
    key = error.full_key or "configuration"
    group = key.removesuffix(".name")
    if isinstance(error, MissingMandatoryValue) and group in SECTIONS:
        return f"{group}: no option is chosen; give {group}=NAME; an experiment has one in its sweep, `unsir-bench -m`"
    return f"{key}: {str(error).splitlines()[0]}"
