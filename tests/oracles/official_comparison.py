"""Our update against an official rule: the largest differences of tensors after some epochs in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor

from tests.oracles.official_rules import Case
from tests.oracles.official_scene import Batch, Scene
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.runtime.progress import Progress
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import UnlearningData

FORGET = (1, 2)


class Apart(NamedTuple):
    """Largest absolute differences: of our parameters and buffers from the rule's, and how far the rule has moved."""

    parameters: float
    buffers: float
    moved: float


def float64_context(digits: DeviceData) -> RunContext:
    """A context in which networks train in float64."""
    fabric = Fabric(accelerator="cpu", devices=1, precision="64-true")
    return RunContext(
        fabric=fabric, seed=0, architecture=AllCNNConfig(width=4), image_shape=digits.image_shape,
        num_classes=digits.num_classes, forget_classes=FORGET, progress=Progress(interactive=False),
        log=lambda phase, step, values: None,
    )  # fmt: skip


def scene_on(digits: DeviceData, split: ForgetSplit, context: RunContext) -> Scene:
    """A float64 network that tells images apart, and both kinds of samples."""
    start = context.initial_network().double().train()
    with torch.no_grad():
        for images, _ in [*digits.view("train").batches(50)] * 8:
            start(images.double())
        start.get_submodule("head").weight.mul_(5)
    batches = [
        next(iter(digits.view("train", kind).batches(1000))) for kind in (split.retain_train, split.forget_train)
    ]
    retain, forget = (Batch(images.double(), labels) for images, labels in batches)
    joined = torch.cat([split.retain_train, split.forget_train]).argsort()
    return Scene(start, retain, forget, context, joined)


def compared(case: Case, digits: DeviceData) -> Apart:
    """How far our update ends from the rule's, on the same start and samples."""
    context = float64_context(digits)
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), FORGET, digits.num_classes)
    scene = scene_on(digits, split, context)
    wanted = case.rule(scene)
    data = UnlearningData(digits, split, case.method, context.seed)
    ours = case.method.unlearn(copy.deepcopy(scene.start), data, context)
    return Apart(
        furthest(ours.parameters(), wanted.parameters()),
        furthest(ours.buffers(), wanted.buffers()),
        furthest(wanted.parameters(), scene.start.parameters()),
    )


@torch.no_grad()
def furthest(ones: Iterable[Tensor], others: Iterable[Tensor]) -> float:
    """The largest absolute difference of two networks' tensors."""
    return max(float((one - other).abs().max()) for one, other in zip(ones, others, strict=True))
