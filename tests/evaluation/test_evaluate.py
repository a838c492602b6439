"""The whole evaluation through real runs on digits: what is recorded, documented, cached, null, and unmasked."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from unsir_bench import compose
from unsir_bench.config import Config, validate
from unsir_bench.data.dataset import load_cached
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import ConfigError, Diverged, MetricUnavailable
from unsir_bench.evaluation.evaluate import Evaluation, Measurements, MetricsConfig
from unsir_bench.evaluation.registry import RESERVED_DETAILS, cards, registered
from unsir_bench.records import GRAD_CAM_FILE, RunRecord
from unsir_bench.references.bank_models import UnlearnedModels
from unsir_bench.references.store import Store
from unsir_bench.references.trained_models import ReferenceModels, TrainedModel
from unsir_bench.report.consistency import _contradictions
from unsir_bench.runner import run
from unsir_bench.runtime.progress import Progress
from unsir_bench.sweeps.plan import BANK_ORIGINAL, BANK_RETRAIN, BANK_UNLEARNED, History, _Needs
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["dataset.subset=40", "model.width=8", "train.epochs=6", "tracker=none", "hardware=cpu"]
FULL = (  # every metric there is
    "unsir", "full", "metrics.bank_size=3", "metrics.collateral=true", "metrics.verification=true",
)  # fmt: skip
PREFIXES = ("original_", "retrain_", "floor_gap_", "floor_", "gap_")


def typed_config(method: str, metrics: str, *overrides: str) -> Config:
    return compose([f"method={method}", f"metrics={metrics}", *SMALL, *overrides])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def done(place: Path) -> Callable[..., RunRecord]:
    """Run a method with a preset of metrics, each preset a sweep of its own; the module's runs share one store."""

    def start(method: str, metrics: str, *overrides: str) -> RunRecord:
        config = typed_config(method, metrics, *overrides)
        config.outputs, config.store.root, config.sweep = str(place), str(place / "store"), metrics
        record = run(config)
        assert record.status == "done", record.error
        return record

    return start


def documented() -> set[str]:
    """Field names in the first columns of the tables of docs/metrics.md."""
    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / "docs" / "metrics.md").read_text(), flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([a-z0-9_<>]+)`", row)} - set(PREFIXES)


def bare(field: str) -> str:
    """The field without the prefix that says whose value it is; costs and phases have none."""
    for prefix in PREFIXES:
        if field.startswith(prefix) and field not in ("retrain_seconds",):
            return field.removeprefix(prefix)
    return field


def test_a_full_record_holds_exactly_the_documented_metrics(done: Callable[..., RunRecord]) -> None:
    record = done(*FULL)
    phases = {"noise", "impair", "repair"}
    recorded = {bare(field) for field in record.metrics}
    recorded -= {f"{phase}_{unit}" for phase in phases for unit in ("seconds", "steps")}
    # Another module of tests may have imported the example package, whose metric this process then knows.
    recorded -= {field for metric in registered() if not metric.shipped for field in metric.fields}
    assert recorded == documented() - {"<phase>_seconds", "<phase>_steps"}
    assert list(_contradictions(record.metrics)) == []
    assert {re.sub(r"^(original_|retrain_|floor_)", "", name) for name in record.details} <= RESERVED_DETAILS


def test_every_number_lies_in_the_range_of_its_card(done: Callable[..., RunRecord]) -> None:
    metrics = done(*FULL).metrics
    for card in (card for metric in registered() if metric.shipped for card in metric.cards):
        for prefix in ("", "original_", "retrain_", "floor_"):
            value = metrics.get(f"{prefix}{card.field}")
            assert value is None or card.range[0] <= value <= card.range[1], (prefix, card)


def test_a_bank_is_made_once_and_its_models_are_those_that_runs_of_their_seeds_make(
    done: Callable[..., RunRecord], place: Path
) -> None:
    store = Store(place / "store")
    first = done(*FULL)
    known = {entry.folder.name for entry in store.entries()}
    again = done("unsir", "fast", "metrics.bank_size=3")
    made = [entry for entry in store.entries() if entry.folder.name not in known and entry.hashes]
    assert made == []  # no model is trained, and nothing unlearned, once more
    for field in ("ulira_accuracy", "forgetting_epsilon", "class_membership_accuracy", "true_floor_acc_retain_test"):
        assert again.metrics[field] == first.metrics[field], field
    unlearned = [entry for entry in store.entries() if "unlearned from" in entry.manifest.get("description", {})]
    assert sorted(entry.manifest["description"]["seed"] for entry in unlearned) == [1, 2, 3]
    [of_seed_1] = [entry for entry in unlearned if entry.manifest["description"]["seed"] == 1]
    run_of_seed_1 = done("unsir", "fast", "seed=1")
    images = load_cached(typed_config("unsir", "fast").dataset, Progress(interactive=False))
    labels = torch.as_tensor(images.test.labels)
    hits = of_seed_1.tensors("logits")["test"].argmax(dim=1) == labels
    assert hits[labels != 0].double().mean().item() == run_of_seed_1.metrics["acc_retain_test"]
    assert hits[labels == 0].double().mean().item() == run_of_seed_1.metrics["acc_forget_test"]
    # A plan of a larger bank asks for what is missing alone.
    larger = typed_config("unsir", "fast", "metrics.bank_size=5")
    larger.outputs, larger.store.root = str(place), str(place / "store")
    needs = list(_Needs(larger, History()).all())
    for kind in (BANK_ORIGINAL, BANK_RETRAIN, BANK_UNLEARNED):
        there = [need.present for need in needs if need.kind == kind]
        assert there == [True] * 3 + [False] * 2, kind
        assert all(need.seconds for need in needs if need.kind == kind and not need.present)


def elsewhere(folder: Path, *overrides: str) -> Config:
    """A run with a store of its own."""
    config = typed_config("unsir", "fast", "train.epochs=1", *overrides)
    config.outputs, config.store.root = str(folder), str(folder / "store")
    return config


def test_a_method_that_cannot_make_its_bank_spoils_nothing_of_the_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def diverges(models: UnlearnedModels, seed: int) -> None:
        tried.append(seed)
        raise MetricUnavailable("it diverged")

    monkeypatch.setattr(UnlearnedModels, "logits", diverges)
    metrics = run(elsewhere(tmp_path, "metrics.bank_size=3")).metrics
    assert metrics["ulira_accuracy"] is None and metrics["true_floor_acc_retain_test"] is not None
    assert metrics["original_rmia_auc"] is not None and metrics["retrain_rmia_auc"] is not None
    assert tried == [1]  # once, not for each metric
    monkeypatch.undo()
    again = run(elsewhere(tmp_path, "metrics.bank_size=3", "method=finetune")).metrics
    assert again["ulira_accuracy"] is not None and again["original_rmia_auc"] == metrics["original_rmia_auc"]


def test_a_second_retrained_model_that_diverges_costs_the_floor_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrained = ReferenceModels.retrained

    tried = []

    def of_seed_0(models: ReferenceModels, split: ForgetSplit, context: RunContext) -> TrainedModel:
        if context.seed:
            tried.append(context.seed)
            raise Diverged("retrain", 7, float("nan"))
        return retrained(models, split, context)

    monkeypatch.setattr(ReferenceModels, "retrained", of_seed_0)
    record = run(elsewhere(tmp_path, "metrics.floor=true", "metrics.lira_shadows=2"))
    assert record.status == "done" and record.metrics["retrain_acc_retain_test"] is not None
    assert record.metrics["floor_acc_retain_test"] is None
    assert "training seed 1 diverged" in record.metric_notes["floor_acc_retain_test"]
    assert record.metrics["lira_auc"] is None and tried == [1]  # once for all metrics of all models


def test_without_a_retrain_reference_no_model_of_another_seed_is_trained_either(tmp_path: Path) -> None:
    run(elsewhere(tmp_path))
    trained = {entry.folder.name for entry in Store(tmp_path / "store").entries() if entry.hashes}
    words = ("retrain_reference=false", "metrics.floor=true", "metrics.lira_shadows=2")
    record = run(elsewhere(tmp_path, *words))
    assert record.metrics["retrain_acc_retain_test"] is not None
    for name in ("floor_acc_retain_test", "original_lira_auc"):
        assert record.metrics[name] is None and "retrain_reference=false" in record.metric_notes[name]
    kept = {entry.folder.name for entry in Store(tmp_path / "store").entries() if entry.hashes}
    assert len(kept - trained) <= 1  # the unlearned weights
    again = run(elsewhere(tmp_path, *words[1:])).metrics
    assert again["floor_acc_retain_test"] is not None and again["original_lira_auc"] is not None


@pytest.mark.parametrize("wrong", ["metrics.bank_size=2", "retrain_reference=false", "forget=sequence"])
def test_a_bank_that_cannot_be_is_refused_before_any_work(wrong: str) -> None:
    config = typed_config("unsir", "bank", wrong)
    with pytest.raises(ConfigError, match="bank_size"):
        validate(config)


def test_every_null_has_its_reason_and_every_number_none(done: Callable[..., RunRecord]) -> None:
    record = done(*FULL)
    nulls = {field for field, value in record.metrics.items() if value is None}
    assert nulls == set(record.metric_notes)


def test_a_null_has_the_reason_of_its_own_metric() -> None:
    [relearning] = [each for each in registered() if "relearn_batches" in each.fields]
    [accuracies] = [each for each in registered() if "acc_forget_test" in each.fields]
    found = Measurements()
    for each in (relearning, accuracies):
        found.add(replace(each, compute=lambda _, fields=each.fields: dict.fromkeys(fields)), Mock())
    assert "before the cap" in found.notes["relearn_batches"]
    assert "sample" in found.notes["acc_forget_test"]


def test_curves_layers_and_classes_are_in_the_details(done: Callable[..., RunRecord]) -> None:
    details = done(*FULL).details
    for prefix in ("", "original_", "retrain_", "floor_"):
        assert details[f"{prefix}relearn_curve"][0][0] == 0
        assert len(details[f"{prefix}accuracy_by_class"]["test"]) == 10
        assert sum(details[f"{prefix}forget_predictions"]) == pytest.approx(1)
    assert (
        details["weight_distance_to_original"]["layers"].keys()
        == details["weight_distance_to_retrain"]["layers"].keys()
    )


def test_grad_cam_maps_are_kept_beside_the_record(done: Callable[..., RunRecord], place: Path) -> None:
    record = done(*FULL)
    maps = load_file(place / record.sweep / record.run_id / GRAD_CAM_FILE)
    peaks = {f"{model}_peaks" for model in ("unlearned", "original", "retrain")}
    assert {"unlearned", "original", "retrain", "images", "samples", "labels"} | peaks == maps.keys()
    assert maps["unlearned"].shape == (8, 8, 8)
    assert all(0 <= float(maps[name].min()) <= float(maps[name].max()) <= 1 for name in ("unlearned", "retrain"))


def test_the_references_are_measured_once_for_all_methods(done: Callable[..., RunRecord], place: Path) -> None:
    first = done("unsir", "standard")
    entries = set((place / "store" / "entries").iterdir())
    second = done("original", "standard")
    assert set((place / "store" / "entries").iterdir()) == entries
    for field, value in first.metrics.items():
        if field.startswith(("original_", "floor_acc", "retrain_acc", "retrain_probe")):
            assert second.metrics[field] == value, field


def test_the_original_measures_as_the_original(done: Callable[..., RunRecord]) -> None:
    metrics = done("original", "standard").metrics
    for field in ("acc_retain_test", "probe_linear_auc", "retention_forget_accuracy", "mia_loss_accuracy", "zrf"):
        # Features of references are kept at half precision.
        assert metrics[field] == pytest.approx(metrics[f"original_{field}"], abs=0.02), field
    assert metrics["relearn_batches"] == metrics["original_relearn_batches"] == 0
    assert metrics["weight_distance_to_original_sum"] == 0


def test_retrain_is_ideal_within_the_floor(done: Callable[..., RunRecord]) -> None:
    metrics = done("retrain", "standard", "metrics.collateral=true", "metrics.verification=true").metrics
    compared = [card.field for card in cards() if card.compared]
    assert len(compared) >= 11
    for field in compared:
        assert metrics[f"gap_{field}"] == pytest.approx(0, abs=0.02), field
    assert metrics["tow"] == 1
    assert metrics["weight_distance_to_retrain_relative"] == 0
    assert metrics["js_to_retrain_forget"] == pytest.approx(0, abs=1e-6)
    # The floor is another model, so that it is no trivial zero.
    assert metrics["floor_js_to_retrain_forget"] > 0.001


@pytest.mark.parametrize("control", ["logit_mask", "head_distillation"])
def test_a_control_that_forgets_nothing_is_unmasked_by_two_metrics(
    control: str, done: Callable[..., RunRecord]
) -> None:
    metrics, retrained = done(control, "standard").metrics, done("retrain", "standard").metrics
    assert metrics["acc_forget_test"] <= 0.05 and retrained["acc_forget_test"] == 0
    assert abs(metrics["gap_acc_retain_test"]) <= 0.05  # by its accuracies it is as good as retraining
    # What a new head and what probes of all layers read is more than from layers that never saw the class.
    for field in ("retention_forget_accuracy", "layer_information_sum"):
        assert metrics[field] == pytest.approx(metrics[f"original_{field}"], abs=0.02), field
        assert metrics[f"gap_{field}"] > 1.5 * abs(metrics[f"floor_gap_{field}"]), field
    assert metrics["information_difference_index"] == pytest.approx(1, abs=0.02)
    assert retrained["information_difference_index"] == pytest.approx(0, abs=0.02)
    assert metrics["weight_distance_to_original_relative"] > 0


def test_fast_measures_accuracies_and_costs_alone(done: Callable[..., RunRecord]) -> None:
    metrics = done("original", "fast").metrics
    kinds = {bare(field).split("_")[0] for field in metrics}
    assert kinds <= {"acc", "tow", "unlearn", "retrain", "speedup", "peak", "retain", "forget", "evaluation"}


def test_other_metrics_are_another_run(done: Callable[..., RunRecord]) -> None:
    assert done("original", "fast").run_id != done("original", "standard").run_id


class Spoilt(nn.Module):
    """A network whose logits are spoilt on the way out."""

    def __init__(self, inner: nn.Module, spoil: Callable[[Tensor], Tensor]):
        super().__init__()
        self.inner, self.spoil = inner, spoil

    @property
    def head(self) -> Any:
        return self.inner.head

    def forward(self, images: Tensor) -> Tensor:
        return self.spoil(self.inner(images))


def test_constant_logits_cost_nothing_and_those_that_are_not_finite_are_no_result(
    digits: DeviceData,
    make_context: Callable[..., RunContext],
    tmp_path: Path,
) -> None:
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), (0,), 10)
    references = ReferenceModels(Store(tmp_path), Recipe(epochs=2, batch_size=32), digits, {})
    context = make_context(scratch_trainer=references)
    original, retrained = references.original(context), references.retrained(split, context)
    config = MetricsConfig(floor=False, weights=False)
    evaluation = Evaluation(config, digits, split, context, references, original, retrained)
    network = references.network(original, context)
    for share in (torch.nan, torch.inf):
        with pytest.raises(Diverged, match="a logit of the unlearned model became nan"):
            evaluation.of(Spoilt(network, lambda logits, share=share: logits * share))
    found = evaluation.of(Spoilt(network, torch.zeros_like))
    assert found.values["zrf"] is not None and found.values["probe_linear_auc"] is not None
    assert found.values["retrain_zrf"] is not None


def test_a_model_without_a_head_has_no_features_but_all_else(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), (0,), 10)
    references = ReferenceModels(Store(tmp_path), Recipe(epochs=1, batch_size=32), digits, {})
    context = make_context(scratch_trainer=references)

    def no_head(model: nn.Module) -> nn.Module:
        raise AttributeError("this model has no head")

    original, retrained = references.original(context), references.retrained(split, context)
    monkeypatch.setattr(type(context.architecture), "head", lambda self, model: no_head(model))
    config = MetricsConfig(floor=False)
    config.relearn.cap = 0
    evaluation = Evaluation(config, digits, split, context, references, original, retrained)
    found = evaluation.of(references.network(original, context))
    assert found.values["probe_linear_auc"] is None
    assert "no head" in found.notes["probe_linear_auc"]
    assert found.values["zrf"] is not None
