"""The preset of solved heads, shrunk: each method runs on the heads that it is for, and is skipped elsewhere."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_module

from unsir_bench import compose, run
from unsir_bench.unlearning.solved_heads import SolvedHeadMethod

PRESET = "experiment=digits_related_heads"
TINY = [
    "dataset.subset=12", "model.backbone.width=4", "model.clusters=12", "train.epochs=1", "train.batch_size=32",
    "tracker=none", "metrics=fast", "hardware=cpu",
]  # fmt: skip


def swept(name: str) -> list[str]:
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        composed = hydra_compose("config", [PRESET], return_hydra_config=True)
    return str(composed.hydra.sweeper.params[name]).split(",")


@pytest.mark.slow
def test_every_method_runs_on_its_heads_and_is_skipped_on_others(tmp_path: Path) -> None:
    done = defaultdict(list)
    for method in swept("method"):
        for classifier in swept("model.classifier"):
            where = [f"outputs={tmp_path}", f"store.root={tmp_path}/store"]
            config = compose([PRESET, f"method={method}", f"model.classifier={classifier}", *TINY, *where])
            if method == "unsir":
                config.method.impair.epochs = config.method.repair.epochs = 1  # type: ignore[attr-defined]
                config.method.noise.steps = 2  # type: ignore[attr-defined]
            suits = (
                classifier in config.method.classifiers
                if isinstance(config.method, SolvedHeadMethod)
                else (method, classifier) != ("fisher", "kmeans")  # centroids are no layer of weights
            )
            record = run(config)
            assert record.status == ("done" if suits else "skipped"), (method, classifier, record.error, record.reason)
            assert bool(record.guarantees) is (suits and isinstance(config.method, SolvedHeadMethod))
            if record.status == "done":
                done[method].append(classifier)
    assert done["certified_removal"] == ["logistic"] and done["projective_residual"] == ["logistic", "ridge"]
    assert done["retrain"] == done["unsir"] == swept("model.classifier")
