from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from unsir_bench.baselines.gkt import GatedKnowledgeTransfer, GeneratedImages, attention_maps, generator

from unsir_bench import compose
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import AccessDenied, NotApplicable
from unsir_bench.records import RunRecord
from unsir_bench.runner import run
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData

NOTHING = {"samples": 0, "reads": 0}
DOORS: dict[str, Callable[[UnlearningData, RunContext], Any]] = {
    "retain": lambda data, context: data.retain,
    "forget": lambda data, context: data.forget,
    "subset": lambda data, context: data.retain_subset(1),
    "share": lambda data, context: data.retain_share(0.1),
    "history": lambda data, context: data.training_log,
    "views": lambda data, context: next(iter(data._views.values())),
    "trainer": lambda data, context: context.scratch_trainer.data,  # type: ignore[union-attr]
    "scratch": lambda data, context: data.train_from_scratch(context),
}


def short(**changes: Any) -> GatedKnowledgeTransfer:
    settings = {"train": Recipe(lr=1e-3, epochs=2, batch_size=32, clip_norm=5.0), "student_steps": 2, "gate": 0.5}
    return GatedKnowledgeTransfer(**{**settings, **changes})


@dataclass
class Peeping(GatedKnowledgeTransfer):
    """Declares nothing, as its base, and tries every door; ``hidden`` keeps the refusals to itself."""

    hidden: bool = True
    opened: ClassVar[list[str]] = []

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        for name, door in DOORS.items():
            with suppress(AccessDenied, RuntimeError, AttributeError, StopIteration) if self.hidden else nullcontext():
                door(data, context)
                self.opened.append(name)
        return model


@pytest.fixture(scope="module")
def record_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[GatedKnowledgeTransfer], RunRecord]:
    """The record of a tiny run; all share one original."""
    folder = tmp_path_factory.mktemp("gkt")
    config = compose([
        "dataset=digits", "model=allcnn_tiny", "train=smoke", "forget=single", "dataset.subset=10", "metrics=fast",
        "method=gkt", "retrain_reference=false", "tracker=none", f"outputs={folder}", f"store.root={folder}/store",
    ])  # fmt: skip
    return lambda method: run(replace(config, method=method))


def test_a_run_reads_no_sample_of_any_kind(record_of: Callable[[GatedKnowledgeTransfer], RunRecord]) -> None:
    record = record_of(short())
    assert record.status == "done", record.error
    assert record.access == {"declared": [], "retain": NOTHING, "forget": NOTHING}
    assert record.metrics["transfer_steps"] == 4


def test_a_method_that_declares_nothing_can_reach_no_sample(
    record_of: Callable[[GatedKnowledgeTransfer], RunRecord],
) -> None:
    record = record_of(Peeping())
    assert (record.status, Peeping.opened) == ("done", []), record.error
    assert record.access == {"declared": [], "retain": NOTHING, "forget": NOTHING}
    record = record_of(Peeping(hidden=False))
    assert record.status == "failed"
    assert "asked for retain_data but declares nothing" in (record.reason or "")


@pytest.mark.parametrize("batchnorm", ["eval", "train"])
def test_the_students_statistics_stay_those_of_a_fresh_network_in_eval_mode(
    batchnorm: str, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    method = short(batchnorm=batchnorm)
    student = method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    fresh = dict(context.random_network("gkt student").named_buffers())
    unchanged = [torch.equal(value, fresh[name]) for name, value in student.named_buffers()]
    assert all(unchanged) is (batchnorm == "eval")
    assert not any(module._forward_hooks for module in [*student.modules(), *model.modules()])


def test_where_the_original_keeps_no_generated_image_from_the_forget_classes_the_method_is_not_applicable(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    with torch.no_grad():
        model.get_submodule("head").bias[1] = 100.0
    method = short()
    with pytest.raises(NotApplicable, match=r"method\.gate=0\.5; raise it"):
        method.unlearn(model, UnlearningData(digits, split, method, 0), context)


@pytest.mark.parametrize(("before", "passed"), [((), 5), ((3,), 0)])
def test_no_image_passes_the_gate_that_is_taken_for_a_class_of_an_earlier_step(
    before: tuple[int, ...], passed: int, context: RunContext
) -> None:
    context.forgotten_before = before
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        teacher.get_submodule("1").weight.zero_()
        teacher.get_submodule("1").bias.copy_(100 * torch.eye(10)[3])
    images = GeneratedImages(short(), teacher, teacher, context)._gated(torch.randn(5, 1, 8, 8))
    assert len(images) == passed


def test_a_single_image_is_no_batch_where_statistics_are_taken_over_it(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GeneratedImages, "_gated", lambda self, images: images[:1])
    data = UnlearningData(digits, split, short(), 0)
    with pytest.raises(NotApplicable, match="no image"):
        short(batchnorm="train").unlearn(model, data, context)
    short(batchnorm="eval").unlearn(model, data, context)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 10), (3, 32, 32)])
def test_the_generator_makes_images_of_the_right_size(shape: tuple[int, int, int]) -> None:
    images = generator(shape)(torch.randn(4, 128))
    assert images.shape == (4, *shape)
    assert images.std().item() == pytest.approx(1, abs=0.05)


def test_attention_maps_are_of_positions_and_need_activations() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Flatten(2), nn.Linear(4, 6), nn.GELU())
    with attention_maps(network) as maps:
        network(torch.randn(5, 1, 2, 2))
    assert [tuple(one.shape) for one in maps] == [(5, 4), (5, 3)]
    torch.testing.assert_close(maps[0].norm(dim=1), torch.ones(5))
    with pytest.raises(NotApplicable, match="activation"), attention_maps(nn.Linear(2, 2)):
        pass
