"""Every method that has something to choose is tuned alike: four settings, on held-out training images."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from unsir_bench.config import Config, typed, validate

CONF = Path(__file__).resolve().parents[2] / "conf"
TUNING = CONF / "experiment" / "tuning"
PRESETS = sorted(path.stem for path in TUNING.glob("*.yaml") if path.stem != "setting")
# Controls among them: their settings are not chosen by a score.
WITHOUT_A_CHOICE = {"original", "retrain", "logit_mask", "head_distillation"}
METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
# The other presets of UNSIR are fixed settings of it, and those of authors are theirs.
FIXED = re.compile("unsir_.*|.*_published")
TUNED = [name for name in METHODS if name not in WITHOUT_A_CHOICE and not FIXED.fullmatch(name)]


def params_in(path: Path) -> dict[str, str]:
    """What a file itself says that is to be varied, by key."""
    params = OmegaConf.to_container(OmegaConf.select(OmegaConf.load(path), "hydra.sweeper.params"))
    assert isinstance(params, dict)
    return {str(key): str(value) for key, value in params.items()}


def swept(name: str) -> dict[str, str]:
    return params_in(TUNING / "setting.yaml") | params_in(TUNING / f"{name}.yaml")


def jobs(params: dict[str, str]) -> list[list[str]]:
    overrides = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
    return [list(job) for job in BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]]


@cache
def last_job(name: str) -> DictConfig:
    """The last of a preset's jobs as the command composes it; composing all of them would take a minute."""
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        return compose("config", [f"experiment=tuning/{name}", *jobs(swept(name))[-1]], return_hydra_config=True)


@cache
def last_config(name: str) -> Config:
    return typed(last_job(name))


def settings_of(name: str) -> Iterator[Config]:
    """Each of the preset's settings, on the last forget set."""
    for job in jobs({key: value for key, value in swept(name).items() if key.startswith("method.")}):
        composed: Any = copy.deepcopy(last_job(name))
        for override in OverridesParser.create().parse_overrides(job):
            OmegaConf.update(composed, override.key_or_group, override.value())
        yield typed(composed)


def test_every_method_with_a_choice_is_tuned_and_no_other() -> None:
    assert len(TUNED) > 10
    assert PRESETS == TUNED


def test_each_preset_tunes_the_method_of_its_name_by_four_settings_of_the_methods_keys() -> None:
    for name in PRESETS:
        params = OmegaConf.to_container(last_job(name).hydra.sweeper.params)
        assert params == swept(name), f"{name}: what the command sweeps over"
        own = {key: value for key, value in swept(name).items() if key not in ("method", "forget")}
        assert all(key.startswith("method.") for key in own), name
        assert (params["method"], params["forget"]) == (name, "single,pair")
        assert len(jobs(own)) == len({tuple(job) for job in jobs(own)}) == 4, name


def test_every_setting_is_valid_and_another_run() -> None:
    for name in PRESETS:
        settings = list(settings_of(name))
        for config in settings:
            assert validate(config) == tuple("0123456789"), name
            assert config.method.name == name
        # Values that differ in the file must differ in the method that they make.
        assert len({config.run_id for config in settings}) == 4, name
        assert settings[-1].run_id == last_config(name).run_id


def test_presets_are_scored_on_held_out_images_against_the_retrained_model() -> None:
    for config in map(last_config, PRESETS):
        assert 0 < config.dataset.validation_share < 1
        assert config.retrain_reference
        assert (config.sweep, config.withheld, config.forget.name) == ("tuning", [], "pair")


def test_presets_differ_from_each_other_in_nothing_but_the_method() -> None:
    """The same data, network, recipe and training seed, so that every method has the same chance."""
    first = last_config(PRESETS[0])
    sections = ("dataset", "model", "train", "hardware", "forget", "seed", "sweep")
    differing = [
        (name, section)
        for name in PRESETS
        for section in sections
        if getattr(last_config(name), section) != getattr(first, section)
    ]
    assert differing == []


def test_no_preset_of_a_table_uses_the_seed_of_tuning() -> None:
    tuning_seed = last_config(PRESETS[0]).seed
    assert tuning_seed != OmegaConf.load(CONF / "config.yaml").seed
    seeds = set()
    files = [*(CONF / "experiment").glob("*.yaml"), *(CONF / "scale").glob("*.yaml")]
    for plain in (OmegaConf.to_container(OmegaConf.load(path)) for path in files):
        swept = plain.get("hydra", {}).get("sweeper", {}).get("params", {})
        for chosen in (plain.get("seed"), plain.get("seeds"), swept.get("seed")):
            seeds |= {int(number) for number in re.findall(r"\d+", str(chosen))}
    assert seeds
    assert tuning_seed not in seeds
