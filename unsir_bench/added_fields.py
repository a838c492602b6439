"""Configuration fields added since the first records, with the values that those runs had."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

ADDED_TO_AUGMENT: dict[str, Any] = {
    "alternate": False,
    "resized_crop_scale": None,
    "rand_augment_ops": 0,
    "rand_augment_magnitude": 9,
}
ADDED_TO_RECIPES: dict[str, Any] = {
    "plateau_watch": "train",
    "held_out_share": 0.02,
    "decay_epochs": [],
    "decay_factor": 0.1,
    "cosine_warmup_share": 0.0,
    "privacy": None,
    "backbone_lr_scale": None,
}
ADDED_TO_MODELS: dict[str, Any] = {"norm": "batch"}
ADDED_TO_NOISE: dict[str, Any] = {"one_per_channel": False}
ADDED_TO_UNSIR: dict[str, Any] = {"noise_of_rounds": "kept"}
ADDED_TO_FROZEN_HEADS: dict[str, Any] = {"layers": 2}
ADDED_TO_FOLDERS: dict[str, Any] = {"image_fit": "squash", "orientation": "stored", "transparency": "drop"}
ADDED_TO_DATASETS: dict[str, Any] = {"normalisation": "dataset"}
ADDED_TO_HARDWARE: dict[str, Any] = {"flush_denormal": False}
# By the beginning of a method's name.
ADDED_TO_METHODS: dict[str, dict[str, Any]] = {
    "eu_k": {"reset_norms": True, "freeze_bn_stats": True},
    "cf_k": {"freeze_bn_stats": True},
    "munba": {"epsilon": 0.0},
    "boundary_expand": {"shadow_init": "default"},
    "scrub": {"forget_batch_size": None},
    "neggrad_plus": {"forwards": "mixed"},
    "boundary_shrink": {"mask": "own_class"},
    "delete": {"mask": "own_class"},
    "single_gradient": {
        "label_smoothing": 0.0, "backbone_lr_scale": None, "clip_value": None, "clip_norm": None,
        "noise_multiplier": None,
    },
    "ssd": {"order": "shuffled"},
    "salun": {"passes": "mixed"},
    "jit": {"mean_over": "batch"},
}  # fmt: skip
ADDED: tuple[dict[str, Any], ...] = (
    ADDED_TO_RECIPES, ADDED_TO_MODELS, ADDED_TO_UNSIR, ADDED_TO_FROZEN_HEADS, ADDED_TO_FOLDERS, ADDED_TO_DATASETS,
    ADDED_TO_HARDWARE, *ADDED_TO_METHODS.values(),
)  # fmt: skip


def with_added_fields(section: dict[str, Any]) -> dict[str, Any]:
    """A configuration with fields added since filled in, so that older and newer runs group together."""
    filled = {key: with_added_fields(value) if isinstance(value, dict) else value for key, value in section.items()}
    if isinstance(filled.get("augment"), dict):
        filled["augment"] = {**ADDED_TO_AUGMENT, **filled["augment"]}
    if isinstance(filled.get("noise"), dict) and "retain_selection" in filled:  # UNSIR
        filled["noise"] = {**ADDED_TO_NOISE, **filled["noise"]}
        if filled.get("retain_share") is not None:
            filled["retain_per_class"] = None  # it had no effect; older records hold a number
    for method, added in ADDED_TO_METHODS.items():
        if "schedule" not in filled and str(filled.get("name")).startswith(method):  # a recipe may have its name
            filled = {**added, **filled}
    for known, fields in (
        ("plateau_patience", ADDED_TO_RECIPES),
        ("pretrained", ADDED_TO_MODELS),
        ("trained_on", ADDED_TO_FROZEN_HEADS),
        ("retain_selection", ADDED_TO_UNSIR),
        ("on_bad_image", ADDED_TO_FOLDERS),
        ("subset_seed", ADDED_TO_DATASETS),
        ("tf32", ADDED_TO_HARDWARE),
    ):
        filled = {**fields, **filled} if known in filled else filled
    return filled


def without_unknown_additions(section: dict[str, Any], known: Set[str]) -> dict[str, Any]:
    """A section without what ``with_added_fields`` may have put there by its looks, though its class has no such field.

    Args:
        section: of a record that was read.
        known: the fields of the class.
    """
    unknown = {key: value for key, value in section.items() if key not in known}
    put = {key for key, value in unknown.items() if any(key in each and each[key] == value for each in ADDED)}
    return {key: value for key, value in section.items() if key not in put}
