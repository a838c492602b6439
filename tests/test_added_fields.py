"""Records from before a field was added: they are of the setting that those runs had."""

from dataclasses import fields
from pathlib import Path

from unsir_bench.baselines.eu_k import ExactUnlearningK
from unsir_bench.baselines.scrub import Scrub

from tests.digits_record import record
from unsir_bench.added_fields import (
    ADDED_TO_AUGMENT,
    ADDED_TO_DATASETS,
    ADDED_TO_FOLDERS,
    ADDED_TO_FROZEN_HEADS,
    ADDED_TO_HARDWARE,
    ADDED_TO_METHODS,
    ADDED_TO_MODELS,
    ADDED_TO_NOISE,
    ADDED_TO_RECIPES,
    ADDED_TO_UNSIR,
)
from unsir_bench.config_fields import default_of
from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.digits import Digits
from unsir_bench.data.folders import ImageFolder
from unsir_bench.models.frozen_head import FrozenHeadConfig
from unsir_bench.records import RunRecord
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.unsir import NoiseConfig, Unsir


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


def test_every_field_added_later_is_known_with_its_default() -> None:
    known = {
        Augmentation: ADDED_TO_AUGMENT,
        Recipe: ADDED_TO_RECIPES,
        NoiseConfig: ADDED_TO_NOISE,
        Unsir: ADDED_TO_UNSIR,
        FrozenHeadConfig: ADDED_TO_MODELS | ADDED_TO_FROZEN_HEADS,
        ExactUnlearningK: ADDED_TO_METHODS["eu_k"],
        Scrub: ADDED_TO_METHODS["scrub"],
        ImageFolder: ADDED_TO_FOLDERS | ADDED_TO_DATASETS,
        Digits: ADDED_TO_DATASETS,
        HardwareConfig: ADDED_TO_HARDWARE,
    }
    for cls, added in known.items():
        marked = {field.name: default_of(field) for field in fields(cls) if field.metadata.get("hashed_if_not_default")}
        assert marked == added


def test_older_methods_are_of_the_settings_that_options_added_since_have_by_default(tmp_path: Path) -> None:
    older = {
        "method": {"name": "eu_k", "train": {}},
        "other": {"name": "cf_k", "train": {}},
        "unsir": {"noise": {"steps": 4}, "retain_selection": "random"},
        "neggrad_plus": {"name": "neggrad_plus", "train": {}},
        "delete": {"name": "delete", "train": {}},
    }
    found = RunRecord.read(record(config=older).write(tmp_path)).config
    assert found["method"] == {"name": "eu_k", "train": {}, "reset_norms": True, "freeze_bn_stats": True}
    assert found["other"] == {"name": "cf_k", "train": {}, "freeze_bn_stats": True}
    assert found["neggrad_plus"]["forwards"] == "mixed" and found["delete"]["mask"] == "own_class"
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
    }
    assert found["method"]["impair"]["plateau_watch"] == "train" and "plateau_watch" not in found["method"]


def test_an_older_record_does_not_claim_the_number_of_images_that_a_share_overruled(tmp_path: Path) -> None:
    older = {"method": {"retain_per_class": 500, "retain_share": 0.2}, "other": {"retain_per_class": 7}}
    found = RunRecord.read(record(config=older).write(tmp_path)).config
    assert found == {"method": {"retain_per_class": None, "retain_share": 0.2}, "other": {"retain_per_class": 7}}
