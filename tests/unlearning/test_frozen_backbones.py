"""Every method on heads over a frozen backbone: it leaves the backbone as it is, or says that it cannot work there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.baselines.solved_scene import SolvedScene, solved_scene
from tests.test_contract import SHIPPED, allowed_data, method_named
from unsir_bench.data.device_data import DeviceData
from unsir_bench.errors import NotApplicable
from unsir_bench.references.frozen_heads import frozen_head_of
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import UnlearningMethod

HEADS = ("logistic", "kmeans", "linearised")
ALL = {
    "amnesiac", "bad_teacher", "delete", "finetune", "jit", "l1_sparse", "lotus", "munba", "neggrad", "neggrad_plus",
    "original", "random_label", "retrain", "salun", "scrub", "sfron", "task_arithmetic", "unsir",
}  # fmt: skip
WORKING = {
    "logistic": ALL | {
        "boundary_expand", "boundary_shrink", "certified_removal", "descent_to_delete", "esc", "head_distillation",
        "logit_mask", "projective_residual",
    },
    "kmeans": ALL | {"head_distillation", "kmeans_delete"},
    "linearised": ALL | {"boundary_shrink", "mixed_linear"},
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(params=HEADS)
def scene(
    request: pytest.FixtureRequest, digits: DeviceData, store: Path, make_context: Callable[..., RunContext]
) -> SolvedScene:
    perturbation = float(request.param == "logistic")
    return solved_scene(digits, store, make_context, classifier=request.param, perturbation=perturbation, clusters=12)


@pytest.mark.parametrize("cls", SHIPPED, ids=lambda cls: cls.name)
def test_a_method_leaves_a_frozen_backbone_as_it_is_or_says_why_it_cannot_work(
    cls: type[UnlearningMethod], scene: SolvedScene
) -> None:
    method, original, architecture = method_named(cls.name), scene.original, scene.context.architecture
    before = copy.deepcopy(original.state_dict())
    works = cls.name in WORKING[frozen_head_of(architecture).classifier]
    if method.unsuitable(architecture) is not None:
        assert not works
        return
    if not works:
        with pytest.raises(NotApplicable, match="frozen_head"):
            method.unlearn(original, allowed_data(method, scene.data, scene.split, scene.context), scene.context)
        return
    data = allowed_data(method, scene.data, scene.split, scene.context)
    after = method.unlearn(original, data, scene.context)
    changed = {name for name, value in after.state_dict().items() if not torch.equal(value, before[name])}
    assert all(name.startswith("head.") for name in changed)
    assert changed or cls.name == "original"


def test_boundary_shrink_does_not_apply_where_no_image_can_be_moved_to_a_boundary(
    digits: DeviceData, store: Path, make_context: Callable[..., RunContext]
) -> None:
    scene = solved_scene(digits, store, make_context, classifier="kmeans", clusters=12)
    with pytest.raises(NotApplicable, match="gradient for images; model 'frozen_head' gives none"):
        scene.unlearned(method_named("boundary_shrink"))
