"""Records from before a field was added: they are of the setting that those runs had."""

import inspect
from dataclasses import Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from unsir_bench.baselines.scrub import Scrub

from tests.digits_record import record
from unsir_bench.added_fields import ADDED_TO_AUGMENT, with_added_fields
from unsir_bench.data.dataset import DatasetConfig
from unsir_bench.data.folders import ImageFolder
from unsir_bench.models.frozen_head import FrozenHeadConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.records import RunRecord
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningMethod
from unsir_bench.unlearning.unsir import Unsir


def test_an_older_record_is_of_the_setting_that_a_field_added_since_has_by_default(tmp_path: Path) -> None:
    older = {"train": {"epochs": 3, "augment": {"flip": True}}, "method": {"impair": {"augment": {"flip": False}}}}
    newer = {
        "train": {"epochs": 3, "augment": {**ADDED_TO_AUGMENT, "flip": True, "alternate": False}},
        "method": {"impair": {"augment": {"flip": False, "alternate": True}}},
    }
    for config, alternate in ((older, False), (newer, True)):
        found = RunRecord.read(record(config=config).write(tmp_path))
        assert found.config["train"] == newer["train"]
        expected = {**ADDED_TO_AUGMENT, "flip": False, "alternate": alternate}
        assert found.config["method"]["impair"]["augment"] == expected


def concrete(base: type[Any]) -> list[type[Any]]:
    """The shipped classes below one, itself included, that are not abstract."""
    below = [cls for direct in base.__subclasses__() for cls in concrete(direct)]
    own = base.__module__.split(".")[0] in ("unsir_bench", "baselines") and not inspect.isabstract(base)
    return list(dict.fromkeys([base, *below] if own else below))


def as_before(node: Any) -> Any:
    """The plain values of a configuration as the first records had them: without fields that were added since."""
    if not is_dataclass(node):
        return node
    return {each.name: as_before(getattr(node, each.name)) for each in fields(node) if not added(each)}


def added(each: Field[Any]) -> bool:
    return bool(each.metadata.get("hashed_if_not_default"))


SECTIONS = [
    cls for base in (UnlearningMethod, ModelConfig, DatasetConfig, Recipe, HardwareConfig) for cls in concrete(base)
]


@pytest.mark.parametrize("cls", SECTIONS, ids=lambda cls: cls.__name__)
def test_every_field_added_later_is_filled_in_with_its_default(cls: type[Any]) -> None:
    assert with_added_fields(as_before(cls())) == asdict(cls())


def test_there_are_such_fields_in_sections_of_each_kind() -> None:
    marked = {cls for cls in SECTIONS if any(map(added, fields(cls)))}
    assert {Unsir, Scrub, FrozenHeadConfig, ImageFolder, Recipe, HardwareConfig} <= marked
    assert len(SECTIONS) > 40


def test_older_methods_are_of_the_settings_that_options_added_since_have_by_default(tmp_path: Path) -> None:
    older = {
        "method": {"name": "eu_k", "train": {}},
        "other": {"name": "cf_k", "train": {}},
        "unsir": {"noise": {"steps": 4}, "retain_selection": "random"},
        "neggrad_plus": {"name": "neggrad_plus", "train": {}},
        "delete": {"name": "delete", "train": {}},
        "jit": {"name": "jit_published", "train": {}},
    }
    found = RunRecord.read(record(config=older).write(tmp_path)).config
    assert found["method"] == {"name": "eu_k", "train": {}, "reset_norms": True, "freeze_bn_stats": True}
    assert found["other"] == {"name": "cf_k", "train": {}, "freeze_bn_stats": True}
    assert found["neggrad_plus"]["forwards"] == "mixed" and found["delete"]["mask"] == "own_class"
    assert found["jit"]["mean_over"] == "batch"
    assert found["unsir"]["noise"] == {"steps": 4, "one_per_channel": False}
    assert found["unsir"]["noise_of_rounds"] == "kept"


def test_an_older_recipe_watched_the_training_loss(tmp_path: Path) -> None:
    older = {"train": {"epochs": 3, "plateau_patience": 3}, "method": {"impair": {"plateau_patience": 1}}}
    found = RunRecord.read(record(config=older).write(tmp_path)).config
    assert found["train"] == {"epochs": 3, "plateau_patience": 3, "plateau_watch": "train", "held_out_share": 0.02} | {
        "decay_epochs": [],
        "decay_factor": 0.1,
        "cosine_warmup_share": 0.0,
        "privacy": None,
        "backbone_lr_scale": None,
    }
    assert found["method"]["impair"]["plateau_watch"] == "train" and "plateau_watch" not in found["method"]


def test_an_older_record_does_not_claim_the_number_of_images_that_a_share_overruled(tmp_path: Path) -> None:
    unsir = {"retain_per_class": 500, "retain_share": 0.2, "retain_selection": "random", "noise": {"steps": 4}}
    plug_in = {"retain_per_class": 500, "retain_share": 0.2}
    found = RunRecord.read(record(config={"method": unsir, "other": plug_in}).write(tmp_path)).config
    assert found["method"]["retain_per_class"] is None and found["other"] == plug_in
