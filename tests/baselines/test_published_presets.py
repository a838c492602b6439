"""Presets with the authors' values hold them, and nothing of the tuning."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from unsir_bench.baselines.single_gradient import SingleGradient

from unsir_bench import compose
from unsir_bench.config import validate
from unsir_bench.data.augmentation import Augmentation

PUBLISHED: dict[str, dict[str, Any]] = {
    "scrub": {
        "train.optimizer": "adam", "train.lr": 5e-4, "train.weight_decay": 0.1, "train.epochs": 10,
        "train.schedule": "steps", "train.decay_epochs": [5, 8, 9], "train.decay_factor": 0.1,
        "train.batch_size": 32, "forget_batch_size": 64, "ce_weight": 1.0, "kl_weight": 0.5, "temperature": 2.0,
        "max_epochs": 3,
    },
    "scrub_large": {
        "train.optimizer": "sgd", "train.lr": 5e-4, "train.momentum": 0.9, "train.weight_decay": 5e-4,
        "train.epochs": 3, "train.schedule": "constant", "train.batch_size": 256, "forget_batch_size": 512,
        "ce_weight": 0.99, "kl_weight": 0.001, "temperature": 4.0, "max_epochs": 2,
    },
    "delete": {
        "train.optimizer": "sgd", "train.lr": 1e-4, "train.momentum": 0.9, "train.weight_decay": 0.0,
        "train.epochs": 20, "train.batch_size": 128, "freeze_bn_stats": False, "mask": "own_class",
    },
    "amnesiac": {"train.optimizer": "adam", "train.lr": 1e-3, "train.batch_size": 64, "train.epochs": 10},
    "boundary_shrink": {
        "train.optimizer": "sgd", "train.lr": 1e-5, "train.momentum": 0.9, "train.epochs": 10, "train.batch_size": 64,
        "epsilon": 0.1, "mask": "own_class",
    },
    "boundary_expand": {
        "train.optimizer": "sgd", "train.lr": 1e-5, "train.momentum": 0.9, "train.epochs": 10, "train.batch_size": 64,
    },
    "salun": {
        "train.optimizer": "sgd", "train.lr": 0.013, "train.momentum": 0.9, "train.weight_decay": 5e-4,
        "train.epochs": 10, "train.batch_size": 256, "share": 0.5, "labels_from": "all", "passes": "forget_then_retain",
    },
    "finetune": {
        "train.optimizer": "sgd", "train.lr": 0.01, "train.momentum": 0.9, "train.weight_decay": 5e-4,
        "train.epochs": 10, "train.batch_size": 256,
    },
    "neggrad": {
        "train.optimizer": "sgd", "train.lr": 1e-4, "train.momentum": 0.9, "train.weight_decay": 5e-4,
        "train.epochs": 5, "train.batch_size": 256, "freeze_bn_stats": False,
    },
    "fisher": {"alpha": 1e-6},
    "ssd": {"selection": 10.0, "dampening": 1.0, "batch_size": 64, "order": "by_class"},
    "bad_teacher": {
        "train.optimizer": "adam", "train.lr": 1e-4, "train.epochs": 1, "train.batch_size": 256, "retain_share": 0.3,
    },
    "long/gkt": {
        "train.optimizer": "adam", "train.lr": 1e-3, "train.epochs": 4000, "train.batch_size": 256,
        "train.clip_norm": 5.0, "student_steps": 10, "generator_lr": 1e-3, "attention_weight": 250.0, "gate": 0.01,
        "batchnorm": "eval",
    },
    # The authors sum over a batch of 128 at 3e-4.
    "jit": {
        "train.lr": 128 * 3e-4, "train.batch_size": 128, "train.momentum": 0.0, "sigma": 0.5, "copies": 25,
        "mean_over": "full_batch",
    },
    "lotus": {
        "train.optimizer": "adamw", "train.lr": 1e-4, "train.weight_decay": 5e-4, "train.epochs": 10,
        "train.batch_size": 128, "retain_share": 0.3, "alpha": 32.0,
    },
    "sfron": {
        "train.optimizer": "sgd", "train.lr": 0.01, "train.momentum": 0.9, "train.weight_decay": 5e-4,
        "train.batch_size": 128, "train.schedule": "cosine", "forget_every": 5, "ascent": 25.0, "adaptivity": 0.5,
        "threshold": 1.0, "largest_norm": 7.0,
    },
    "munba": {
        "train.optimizer": "sgd", "train.lr": 0.01, "train.momentum": 0.9, "train.weight_decay": 5e-4,
        "train.epochs": 10, "train.batch_size": 256, "labels_from": "all",
    },
    "scar": {
        "train.optimizer": "adam", "train.lr": 1e-3, "train.epochs": 10, "train.batch_size": 1024,
        "forget_weight": 1.0, "retain_weight": 0.1, "temperature": 2.0, "power": 0.5, "shrink_variance": 3.0,
        "shrink_covariance": 3.0, "retain_steps": 6,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_preset_has_the_authors_values(name: str) -> None:
    # A data set with another batch size must not change the authors'.
    config = compose([f"method={name}_published", "dataset.batch_size=48"])
    validate(config)
    method = config.method
    assert method.name == f"{name.removeprefix('long/')}_published"
    assert method.settings == "published"
    assert {key: reduce(getattr, key.split("."), method) for key in PUBLISHED[name]} == PUBLISHED[name]


# Whether the authors mirror and shift the images that they forget by.
BOTH = ("munba", "salun", "delete", "sfron", "finetune", "neggrad")
AUGMENTED = dict.fromkeys(BOTH, (True, True)) | {"lotus": (False, True)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_preset_augments_as_far_as_the_authors_and_the_data_do(name: str) -> None:
    flips, shifts = AUGMENTED.get(name, (False, False))
    for dataset in ("cifar10", "digits"):
        config = compose([f"method={name}_published", f"dataset={dataset}"])
        if (recipe := getattr(config.method, "train", None)) is not None:
            of_data = config.dataset
            assert recipe.augment == Augmentation(flips and of_data.flip, of_data.crop_padding if shifts else 0)


def test_single_gradient_leaves_momentum_out_as_its_authors_do() -> None:
    method = compose(["method=single_gradient", "train=small"]).method
    assert isinstance(method, SingleGradient)
    # The original's rate, batches and epochs; its momentum of 0.9 would make each step ten times as long.
    assert (method.lr, method.epochs, method.momentum, method.settings) == (0.1, 15, 0.0, "published")
    assert compose(["method=single_gradient", "method.momentum=0.9"]).method.settings == "user"
