"""The paper's numbers: only verified ones, and beside the same experiment alone."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.report.claims.claim_records import CLAIMS, finding, over_seeds
from unsir_bench.report.published_numbers import EXPERIMENTS, RECIPE, SPEEDUPS, is_the_papers, unlearned_numbers
from unsir_bench.report.tables.comparison import comparison_tables

# As the project's reference states them: the only verified numbers of the paper.
VERIFIED = {
    ("cifar10", "resnet18", 1): ((77.86, 81.01), (71.06, 0.0)),
    ("cifar100", "resnet18", 20): ((77.88, None), (75.38, None)),
    ("vggface100", "resnet18", 1): ((80.63, None), (72.29, 3.0)),
}


def published(classes: int = 1, **change: Any) -> tuple[float | None, bool]:
    fields: dict[str, Any] = {"dataset": "cifar10", "model": "resnet18", "config": {"at_scale": "paper"}, **change}
    found = finding("forgets", over_seeds("acc_forget_test", [0.0, 0.0], classes=range(classes), **fields))
    return found.published, found.published_is_same


def test_a_published_number_is_the_same_experiments_only_at_its_scale_and_on_its_images() -> None:
    assert published() == (0.0, True)
    assert published(dataset="cifar10_png") == (0.0, True)  # the same pixels
    assert published(dataset="cifar10_jpeg") == (0.0, False)
    assert published(config={"at_scale": "cpu"}) == (0.0, False)
    assert published(config={"at_scale": "paper", "dataset": {"subset": 100}}) == (0.0, False)
    assert published(config={"at_scale": "paper", "model": {"pretrained": True}}) == (0.0, False)
    assert published(config={"at_scale": "paper", "model": {"weights": "backbone.safetensors"}}) == (0.0, False)
    assert published(classes=2) == (None, False)
    assert published(method="unsir_slim") == (None, False)
    assert published(model="allcnn") == (None, False)


@pytest.mark.parametrize("settings", ["user", "tuned"])
def test_a_method_with_other_values_than_the_papers_has_no_published_number(settings: str) -> None:
    changed = {"at_scale": "paper", "method": {"impair": {"lr": 0.5}}}
    assert published(settings=settings, config=changed) == (None, False)
    assert published(settings="published") == (0.0, True)


@pytest.mark.parametrize("name", ["speedup_vs_retrain", "speedup_vs_fisher"])
def test_the_papers_speed_ups_stand_beside_the_papers_method_alone(name: str) -> None:
    [claim] = [claim.id for claim in CLAIMS.values() if claim.published == name]

    def beside(**fields: Any) -> float | None:
        return finding(claim, over_seeds(name, [60.0, 61.0], **fields)).published

    assert beside() == beside(method="unsir_notebook") == SPEEDUPS[name]
    others: list[dict[str, Any]] = [
        {"method": "unsir_gentle"}, {"method": "unsir_later"}, {"settings": "tuned"}, {"settings": "user"},
    ]  # fmt: skip
    assert [beside(**other) for other in others] == [None] * 4


def test_a_model_made_elsewhere_is_never_the_papers_experiment() -> None:
    """Its scale, images, network and what is known of its recipe may all be the paper's: nobody saw it trained."""
    [own] = over_seeds("acc_forget_test", [0.0], dataset="cifar10", model="resnet18", config={"at_scale": "paper"})
    files = {role: {"file": f"{role}.pt", "sha256": role} for role in ("original", "unlearned")}
    foreign = replace(own, checkpoints=files)
    assert is_the_papers(own, "paper") and unlearned_numbers(own)
    assert not is_the_papers(foreign, "paper") and not unlearned_numbers(foreign)
    for run, title, known in ((own, "paper", True), (foreign, "paper*", False)):
        [table] = comparison_tables("s", [run])
        assert table.paper_title == title and any(row.published for row in table.rows) is known


def test_an_original_that_was_trained_otherwise_is_not_the_papers() -> None:
    def trained(**train: Any) -> tuple[bool, bool]:
        config = {"at_scale": "paper", "train": {**RECIPE, **train}}
        runs = over_seeds("acc_forget_test", [0.0, 0.0], dataset="cifar10", model="resnet18", config=config)
        found = finding("forgets", runs)
        return found.published_is_same, found.at_paper_scale

    assert trained() == trained(plateau_watch="test") == (True, True)
    assert trained(epochs=1) == trained(augment={"flip": True}) == (False, False)


def test_the_recipe_is_that_of_the_configuration() -> None:
    shipped = yaml.safe_load((Path(__file__).parents[3] / "conf" / "train" / "published.yaml").read_text())
    flat = {**shipped, **shipped["augment"]}
    assert {name: flat[name] for name in RECIPE} == RECIPE


def test_only_verified_numbers_of_the_paper_are_kept() -> None:
    def percent(values: Mapping[str, float]) -> tuple[float | None, ...]:
        found = (values.get(name) for name in ("acc_retain_test", "acc_forget_test"))
        return tuple(None if value is None else round(100 * value, 6) for value in found)

    kept = {(e.dataset, e.model, e.classes): (percent(e.original), percent(e.unlearned)) for e in EXPERIMENTS}
    assert kept == VERIFIED
    assert SPEEDUPS == {"speedup_vs_retrain": 154.0, "speedup_vs_fisher": 1875.0}
