"""What solved heads compute for the record alone takes none of their seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from unsir_bench.baselines import certified_removal, descent_to_delete, projective_residual
from unsir_bench.baselines.certified_removal import CertifiedRemoval
from unsir_bench.baselines.descent_to_delete import DescentToDelete
from unsir_bench.baselines.mixed_linear import MixedLinear
from unsir_bench.baselines.projective_residual import ProjectiveResidual

from tests.baselines.solved_scene import solved_scene
from tests.fake_time import FakeTime
from unsir_bench.data.device_data import DeviceData
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import UnlearningMethod

STEPS = 7  # of descent, each with one gradient that is part of the method


@pytest.mark.parametrize(
    ("method", "fields", "where", "name", "seconds"),
    [
        (ProjectiveResidual(), {"classifier": "ridge"}, projective_residual, "_gradient", 0),
        (DescentToDelete(steps=STEPS), {"l2": 20.0}, descent_to_delete, "logistic_gradient", STEPS),
        (CertifiedRemoval(), {"perturbation": 20.0, "l2": 5.0}, certified_removal, "_residual_norm", 0),
        (MixedLinear(steps=2), {"classifier": "linearised", "l2": 1.0}, torch.Tensor, "norm", 0),
    ],
    ids=["projective_residual", "descent_to_delete", "certified_removal", "mixed_linear"],
)
def test_a_residual_norm_is_measured_outside_the_clock(
    method: UnlearningMethod, fields: dict[str, Any], where: object, name: str, seconds: int, digits: DeviceData,
    make_context: Callable[..., RunContext], tmp_path: Path, fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    scene = solved_scene(digits, tmp_path, make_context, gone=torch.arange(5), **fields)
    original, quick, calls = scene.original, getattr(where, name), []

    def slow(*given: Any, **named: Any) -> Any:
        fake_time.pass_by(1)
        calls.append(name)
        return quick(*given, **named)

    monkeypatch.setattr(where, name, slow)
    with scene.context.clock.running():
        scene.unlearned(method, original)
    assert len(calls) > seconds
    assert scene.context.clock.total == seconds
