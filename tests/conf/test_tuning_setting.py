"""Every method is tuned alike: on held-out images, with a seed and classes that its default runs do not report."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from unsir_bench import compose
from unsir_bench.cli.tune import DEFAULTS, FORGET, _with_a_choice
from unsir_bench.config import validate
from unsir_bench.config_fields import problems, search_ranges
from unsir_bench.references.tuned_values import set_values
from unsir_bench.sweeps.tuning import Study
from unsir_bench.unlearning.method import UnlearningMethod

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture(scope="module")
def methods() -> dict[str, UnlearningMethod]:
    """What is tuned by default; composing every preset takes seconds."""
    return _with_a_choice()


def test_every_method_with_a_choice_is_tuned_and_no_fixed_preset(methods: dict[str, UnlearningMethod]) -> None:
    assert len(methods) > 20
    assert {"unsir", "gkt", "salun"} <= set(methods)
    assert not {"original", "retrain", "logit_mask", "unsir_later", "salun_published"} & set(methods)


@pytest.mark.parametrize("end", [0, 1])
def test_both_ends_of_every_range_are_valid_and_other_runs_than_the_presets(
    end: int, methods: dict[str, UnlearningMethod]
) -> None:
    base = compose([*DEFAULTS, "method=original"])
    for name, method in methods.items():
        ranges = {key: ends for key, ends, _ in search_ranges(method, "method")}
        assert ranges, name
        base.method = copy.deepcopy(method)
        before = base.run_id
        set_values(base, {key: ends[end] for key, ends in ranges.items()})
        assert list(problems(base.method, "method")) == [], name
        assert base.run_id != before, name


def test_studies_hold_training_images_out_and_forget_other_classes_than_single_and_pair() -> None:
    config = compose([*DEFAULTS, "method=ssd"])
    assert 0 < config.dataset.validation_share < 1
    assert config.retrain_reference
    validate(config)
    reported = [set(compose([f"forget={name}"]).forget.classes or []) for name in ("single", "pair")]
    assert not set.union(*reported) & {one for group in FORGET for one in group}
    assert Study(config, FORGET).name != Study(config, FORGET[:1]).name


def test_no_preset_of_a_table_uses_the_seed_of_tuning() -> None:
    tuning_seed = OmegaConf.load(CONF / "experiment" / "tuning" / "setting.yaml").seed
    assert tuning_seed != OmegaConf.load(CONF / "config.yaml").seed
    seeds = set()
    files = [*(CONF / "experiment").glob("*.yaml"), *(CONF / "scale").glob("*.yaml")]
    for plain in (OmegaConf.to_container(OmegaConf.load(path)) for path in files):
        swept = plain.get("hydra", {}).get("sweeper", {}).get("params", {})
        for chosen in (plain.get("seed"), plain.get("seeds"), swept.get("seed")):
            seeds |= {int(number) for number in re.findall(r"\d+", str(chosen))}
    assert seeds
    assert tuning_seed not in seeds
