"""What README's demo shows on digits, held to the numbers it promises: the mean over three seeds."""

from pathlib import Path
from statistics import mean

import pytest

from unsir_bench import compose
from unsir_bench.records import RunRecord
from unsir_bench.runner import run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def demo_run(folder: Path, forget: str, seed: int) -> RunRecord:
    overrides = ["experiment=digits_demo", f"forget={forget}", f"seed={seed}", "tracker=none", "metrics=fast"]
    return run(compose([*overrides, f"outputs={folder}", f"store.root={folder}/store"]))


@pytest.mark.slow
@pytest.mark.parametrize("forget", ["single", "pair"])
def test_unsir_forgets_digits_and_keeps_the_rest(forget: str, store: Path) -> None:
    runs = [demo_run(store, forget, seed).metrics for seed in (0, 1, 2)]
    # All test images count: a tenth of them is of each class.
    share = {"single": 0.1, "pair": 0.2}[forget]
    originals = [
        (1 - share) * metrics["original_acc_retain_test"] + share * metrics["original_acc_forget_test"]
        for metrics in runs
    ]
    assert mean(originals) >= 0.97
    assert mean(metrics["acc_forget_test"] for metrics in runs) <= 0.02
    assert mean(metrics["acc_retain_test"] for metrics in runs) >= 0.93
    assert mean(metrics["retrain_acc_forget_test"] for metrics in runs) == 0
