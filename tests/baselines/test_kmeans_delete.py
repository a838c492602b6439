"""Quantised k-means: deletion against training anew, and which deletions leave it in place against trying each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from unsir_bench.baselines.kmeans_delete import KMeansDelete, deletable, delete

from tests.baselines.solved_scene import made_samples, solved_scene, without
from unsir_bench.data.device_data import DeviceData
from unsir_bench.models.frozen_head import KMeansHead
from unsir_bench.training.context import RunContext
from unsir_bench.training.quantised_kmeans import QuantisedKMeans
from unsir_bench.unlearning.solved_heads import HeadSamples

CLUSTERS, ITERATIONS, CLASSES, DIMENSIONS, COUNT = 5, 4, 3, 4, 120


def trained(samples: HeadSamples, settings: QuantisedKMeans, seed: int) -> KMeansHead:
    draws = torch.Generator().manual_seed(seed)
    ranks = torch.randperm(COUNT, generator=draws)
    phases = torch.rand(ITERATIONS, DIMENSIONS, generator=draws, dtype=torch.float64) - 0.5
    head = KMeansHead(DIMENSIONS, CLASSES, CLUSTERS, ITERATIONS)
    settings.solve(head, samples.inputs, samples.labels, samples.indices, ranks, phases)
    return head


@pytest.mark.parametrize("settings", [QuantisedKMeans(0.5, 0.2), QuantisedKMeans(0.3, 0.9), QuantisedKMeans(0.05, 0.0)])
def test_what_can_be_deleted_is_what_a_new_training_leaves_in_place(settings: QuantisedKMeans) -> None:
    """For each number of deleted samples: the trajectory of a training without them is the same, or is not."""
    seen = set()
    for seed in range(6):
        samples = made_samples(COUNT, DIMENSIONS, CLASSES, seed)
        order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(100 + seed))[:12]
        head = trained(samples, settings, seed)
        forget = HeadSamples(samples.inputs[order], samples.labels[order], order)
        fitted = deletable(head, forget, settings)
        for count in range(1, len(order) + 1):
            _, retain = without(samples, order[:count])
            anew = trained(retain, settings, seed)
            same = torch.equal(anew.course, head.course)
            if count <= fitted:
                assert same
            elif count == fitted + 1:
                assert not same
        seen.add(fitted)
    assert len(seen) > 1 or settings.quantum == 0.05  # on the finest lattice hardly any fits


def test_after_deletion_everything_kept_is_that_of_a_new_training() -> None:
    settings, checked = QuantisedKMeans(0.5, 0.2), 0
    for seed in range(6):
        samples = made_samples(COUNT, DIMENSIONS, CLASSES, seed)
        head, order = trained(samples, settings, seed), torch.arange(COUNT - 1, COUNT - 13, -1)
        forget = HeadSamples(samples.inputs[order], samples.labels[order], order)
        fitted = deletable(head, forget, settings)
        gone, retain = without(samples, order[:fitted])
        delete(head, gone, settings)
        for name, value in trained(retain, settings, seed).state_dict().items():
            assert torch.equal(value, head.state_dict()[name]), name
        checked += fitted > 0
    assert checked > 2


def test_centroids_lie_on_the_lattice_and_a_small_cluster_moves_less() -> None:
    head = KMeansHead(1, 2, 3, 1)
    head.phases.copy_(torch.tensor([[0.25]]))
    head.course[0] = torch.tensor([[0.0], [1.0], [2.0]])
    sums, counts = torch.tensor([[0.0], [1.2], [24.0]]).double(), torch.tensor([0.0, 1.0, 11.0]).double()
    moved = QuantisedKMeans(0.1, 0.5).moved(head, 0, sums, counts, 12)
    # At least 2 samples count: the empty cluster stays at 0, that of one sample goes half of the way to it, from 1 to
    # 1.1, the third to 24/11. Each is rounded to 0.1 (0.25 + a whole number).
    assert moved[:, 0].tolist() == pytest.approx([0.025, 1.125, 2.225])


def test_a_class_makes_a_retrain_due_and_the_head_is_then_the_retrained_one(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context, classifier="kmeans", clusters=12)
    after = scene.unlearned(KMeansDelete()).state_dict()
    for name, value in scene.retrained.state_dict().items():
        assert torch.equal(value, after[name]), name
    stated = scene.context.guarantees
    assert (stated["exact"], stated["retrained"], stated["removed_samples"]) == (1, 1, 0)
    assert (stated["removable_samples"] or 0) < len(scene.split.forget_train)


def test_a_sample_that_moves_no_centroid_is_deleted_without_training(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    fields = {"classifier": "kmeans", "clusters": 4, "quantum": 0.6}
    for gone in range(20):
        scene = solved_scene(digits, tmp_path, make_context, torch.tensor([gone]), **fields)
        after = scene.unlearned(KMeansDelete()).state_dict()
        for name, value in scene.retrained.state_dict().items():
            assert torch.equal(value, after[name]), name
        if not scene.context.guarantees["retrained"]:
            assert scene.context.guarantees["removed_samples"] == 1
            return
    pytest.fail("none of twenty samples could be deleted")


def test_fewer_samples_than_clusters_are_refused_by_the_settings_name() -> None:
    with pytest.raises(ValueError, match=r"3 samples are fewer than model.clusters=5"):
        trained(without(made_samples(COUNT, DIMENSIONS, CLASSES, 0), torch.arange(3))[0], QuantisedKMeans(0.1, 0), 0)
