"""The preset of solved heads, shrunk: each method runs on the heads that it is for, and suits no others."""

from __future__ import annotations

import itertools
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


SHARED = {"retrain": ("ridge", "kmeans"), "unsir": ("logistic", "linearised")}


@pytest.mark.slow
def test_every_method_runs_on_its_heads_and_suits_no_others(tmp_path: Path) -> None:
    solved = set()
    where = [f"outputs={tmp_path}", f"store.root={tmp_path}/store"]
    configs = {method: compose([PRESET, f"method={method}", *TINY, *where]) for method in swept("method")}
    for method, classifier in itertools.product(configs, swept("model.classifier")):
        config = configs[method]
        config.model.classifier = classifier  # type: ignore[attr-defined]
        own = isinstance(config.method, SolvedHeadMethod)
        reason = config.method.unsuitable(config.model)
        if reason is not None or (not own and classifier not in SHARED[method]):
            assert reason is None or f"here it is {classifier}" in reason
            continue
        record = run(config)
        assert record.status == "done", (method, classifier, record.error, record.reason)
        assert bool(record.guarantees) is own
        solved |= {(method, classifier)} if own else set()
    assert solved == {
        ("certified_removal", "logistic"), ("descent_to_delete", "logistic"), ("projective_residual", "logistic"),
        ("projective_residual", "ridge"), ("statistical_query", "nearest_mean"), ("kmeans_delete", "kmeans"),
        ("mixed_linear", "linearised"),
    }  # fmt: skip
