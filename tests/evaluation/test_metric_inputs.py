"""What metrics read of a run: which other models are made for it, and with which seeds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.evaluate import MetricsConfig
from unsir_bench.evaluation.metric_inputs import EvaluatedRun, MetricInputs
from unsir_bench.evaluation.metrics.feature_probe import linear_probe
from unsir_bench.evaluation.metrics.inputs import whole_classes
from unsir_bench.evaluation.metrics.layer_information import layer_information
from unsir_bench.evaluation.registry import MetricFunction

PARTS = {"retain_train": [1, 2], "forget_train": [0], "retain_test": [1], "forget_test": [0]}


def of_seed(seed: int) -> Any:
    """A retrained model, every logit of which is its seed."""
    logits = {name: torch.full((3, 2), float(seed)) for name in ("train", "test")}
    return SimpleNamespace(seconds=1.0, logits=logits, fingerprint=f"of {seed}")


def run_that_forgets(train: list[int], test: list[int]) -> EvaluatedRun:
    """A run of six samples a split, two of each of the classes 0, 1 and 2."""
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    split = ForgetSplit.of_samples(
        {"train": torch.tensor(train), "test": torch.tensor(test, dtype=torch.int64)}, {"train": 6, "test": 6}, 3
    )
    data: Any = SimpleNamespace(labels=lambda name: labels, num_classes=3)
    nothing: Any = None
    return EvaluatedRun(MetricsConfig(), data, split, nothing, nothing, nothing, None)


@pytest.mark.parametrize(
    ("train", "test", "unseen", "in_the_key"),
    [
        ([0, 1, 2], [0, 1], [0, 1, 2, 3], (1,)),  # a class, then a sample of another
        ([2, 4], [5], [2, 3, 5], (1,)),  # a file that lists a test sample of one class alone
        ([0, 1], [0, 1], [0, 1], ()),
        ([2], [], [2, 3], (1,)),  # a file that lists training samples of one class alone
        ([0, 2, 5], [], [0, 1, 2, 3, 4, 5], (0, 1, 2)),  # drawn at random from all classes
    ],
)
def test_attacks_compare_each_class_with_test_samples_of_its_own(
    train: list[int], test: list[int], unseen: list[int], in_the_key: tuple[int, ...]
) -> None:
    run = run_that_forgets(train, test)
    rows = run.rows({"test": torch.arange(6)}, "unseen_test")
    assert sorted(rows.tolist()) == unseen
    assert run.beyond_the_split["untested classes"] == in_the_key


@pytest.mark.parametrize(
    ("train", "test", "reason"),
    [
        ([0, 1, 2], [0, 1], "samples of kept classes are forgotten, too, and a probe"),
        ([2], [], "no class is forgotten, and a probe"),
    ],
)
@pytest.mark.parametrize("probe", [linear_probe, layer_information])
def test_class_metrics_say_truly_why_they_are_null_before_any_network_is_run(
    probe: MetricFunction, train: list[int], test: list[int], reason: str
) -> None:
    no_network: Any = None
    with pytest.raises(MetricUnavailable, match=reason):
        probe(MetricInputs(run_that_forgets(train, test), no_network))


def test_a_class_forgotten_after_some_of_its_samples_counts_as_forgotten() -> None:
    no_network: Any = None
    inputs = MetricInputs(run_that_forgets([0, 1], [0, 1]), no_network)
    assert inputs.run.split.classes == () and whole_classes(inputs, "") == (0,)


def run_of_seed(seed: int, config: MetricsConfig, with_retrained: bool = True) -> EvaluatedRun:
    context: Any = SimpleNamespace(seed=seed, of_another_seed=lambda other: SimpleNamespace(seed=other))
    references: Any = SimpleNamespace(retrained=lambda split, of: of_seed(of.seed))
    indices: dict[str, Tensor] = {part: torch.tensor(chosen) for part, chosen in PARTS.items()}
    labels = {"train": torch.tensor([0, 1, 1]), "test": torch.tensor([0, 1, 1])}
    data: Any = SimpleNamespace(labels=lambda name: labels[name], num_classes=2)
    split: Any = SimpleNamespace(indices=indices, classes=(0,))
    original, retrained = of_seed(seed), of_seed(seed) if with_retrained else None
    return EvaluatedRun(config, data, split, context, references, original, retrained)


@pytest.mark.parametrize("seed", [0, 4])
def test_shadows_are_of_the_seeds_after_the_runs_and_never_of_its_own(seed: int) -> None:
    run = run_of_seed(seed, MetricsConfig(lira_shadows=2))
    inputs = MetricInputs(run, model=of_seed(seed))
    assert inputs.shadow_logits("retain_train")[:, 0, 0].tolist() == [seed + 1, seed + 2]
    assert inputs.shadow_logits("retain_train").shape == (2, 2, 2)  # models, samples of the part, classes


def test_a_bank_is_of_the_seeds_after_the_runs() -> None:
    run = run_of_seed(4, MetricsConfig(bank_size=3))
    assert MetricInputs(run, model=of_seed(4)).bank("retrained", "forget_test")[:, 0, 0].tolist() == [5, 6, 7]


def test_without_a_retrained_model_there_are_neither_shadows_nor_a_bank() -> None:
    inputs = MetricInputs(run_of_seed(0, MetricsConfig(lira_shadows=2, bank_size=3), with_retrained=False), of_seed(0))
    with pytest.raises(MetricUnavailable, match="shadow models are made like it"):
        inputs.shadow_logits("forget_train")
    with pytest.raises(MetricUnavailable, match="a bank needs a retrained model"):
        inputs.bank("retrained", "forget_test")
