"""`seed` trains, a method draws from `unlearn_seed`: one training serves many draws, and reports tell them apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from unsir_bench.cli.bootstrap import compose
from unsir_bench.config import Config, validate
from unsir_bench.errors import ConfigError
from unsir_bench.records import RunRecord
from unsir_bench.references.store import Store
from unsir_bench.report.data import model_table
from unsir_bench.report.seeds import one_per_seed, spread_within_seeds
from unsir_bench.report.tables.table import summary
from unsir_bench.runner import run
from unsir_bench.sweeps.plan import History, _Needs

TINY = [
    "dataset.subset=12", "model.width=4", "train.epochs=4", "metrics=fast", "tracker=none", "hardware=cpu",
    "method.noise.steps=2", "method.noise.batch_size=8", "method.noise.copies=1",
]  # fmt: skip


def configured(folder: Path, *overrides: str) -> Config:
    return compose([*TINY, f"outputs={folder}", f"store.root={folder}/store", *overrides])


def made(folder: Path, kind: str) -> int:
    """Entries of a kind: trainings by their role, other work by what it is."""
    manifests = [entry.manifest for entry in Store(folder / "store").entries()]
    return sum(kind in (each.get("role"), each.get("description", {}).get("kind")) for each in manifests)


def test_three_unlearning_seeds_are_three_records_of_one_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        records = [run(configured(tmp_path, f"unlearn_seed={draws}")) for draws in (0, 1, 2)]
    assert [record.status for record in records] == ["done"] * 3
    assert (
        len({record.run_id for record in records}) == len({record.fingerprints["weights"] for record in records}) == 3
    )
    assert len({record.fingerprints[role] for record in records for role in ("original", "retrain")}) == 2
    assert made(tmp_path, "original") == made(tmp_path, "retrain") == 1
    assert caplog.text.count("training the original model") == caplog.text.count("training the retrain model") == 1
    assert len({record.metrics["retrain_acc_retain_test"] for record in records}) == 1

    records.append(run(configured(tmp_path, "seed=1")))
    table = model_table(records)
    own = table[table["method"] == "unsir"]
    values = [record.metrics["acc_retain_test"] for record in records]
    within = sum(values[:3]) / 3
    assert one_per_seed(own)["acc_retain_test"].tolist() == pytest.approx([within, values[3]])
    pooled = (sum((value - within) ** 2 for value in values[:3]) / 2) ** 0.5
    assert spread_within_seeds(own, "acc_retain_test") == pytest.approx(pooled)
    [row] = [row for row in summary(table) if row["method"] == "unsir"]
    assert row["n"] == "2" and row["A_Dr %"].startswith(f"{50 * (within + values[3]):.2f}")
    assert pooled > 0 and f"A_Dr {100 * pooled:.2f}" in row["sd within seeds"]


def test_the_training_seed_is_the_default_and_gives_the_ids_of_before(tmp_path: Path) -> None:
    plain = configured(tmp_path, "seed=3")
    assert configured(tmp_path, "seed=3", "unlearn_seed=3").run_id == plain.run_id
    other = configured(tmp_path, "seed=3", "unlearn_seed=4")
    assert other.run_id != plain.run_id and "-s3u4-" in other.run_id
    with pytest.raises(ConfigError, match="unlearn_seed=-1: must be at least 0"):
        validate(configured(tmp_path, "unlearn_seed=-1"))


def test_a_number_that_no_record_can_hold_is_refused(tmp_path: Path) -> None:
    too_large = [f"{key}={2**63}" for key in ("seed", "unlearn_seed", "dataset.subset_seed")]
    with pytest.raises(ConfigError) as caught:
        validate(configured(tmp_path, *too_large))
    expected = {f"{word}: is more than a record holds; choose a number below {2**63}" for word in too_large}
    assert set(caught.value.problems) == expected
    validate(configured(tmp_path, f"seed={2**63 - 1}"))


def test_a_precomputation_that_draws_is_made_for_each_unlearning_seed_and_no_other(tmp_path: Path) -> None:
    drawing = [word for word in TINY if "noise" not in word]
    for method, kind, count in (("ssd", "importance", 2), ("fisher", "fisher_diagonal", 1)):
        places = [f"outputs={tmp_path}", f"store.root={tmp_path}/store", f"method={method}"]
        records = [run(compose([*drawing, *places, f"unlearn_seed={draws}"])) for draws in (0, 1)]
        assert [record.status for record in records] == ["done"] * 2
        assert made(tmp_path, kind) == count


def test_retraining_as_a_method_draws_nothing(tmp_path: Path) -> None:
    words = [word for word in TINY if "noise" not in word]
    places = [f"outputs={tmp_path}", f"store.root={tmp_path}/store", "method=retrain", "unlearn_seed=9"]
    record: RunRecord = run(compose([*words, *places]))
    assert record.fingerprints["weights"] == record.references["retrain"]["weights"]
    assert made(tmp_path, "retrain") == 1


@pytest.mark.parametrize(
    ("method", "expected"), [("method=ssd", 3), ("method=fisher", 1), ("method=fisher method.labels=mc", 3)]
)
def test_a_plan_counts_what_each_unlearning_seed_computes_anew(tmp_path: Path, method: str, expected: int) -> None:
    overrides = [word for word in TINY if not word.startswith("method.")] + method.split()
    keys = set()
    for draws in (0, 1, 2):
        config = compose([*overrides, f"outputs={tmp_path}", f"store.root={tmp_path}/store", f"unlearn_seed={draws}"])
        precomputed = config.method.precomputes[0].replace("_", " ")
        keys |= {(need.kind, need.key) for need in _Needs(config, History()).all() if need.kind == precomputed}
        assert run(config).status == "done"
        assert [need.present for need in _Needs(config, History()).all() if need.kind == precomputed] == [True]
    assert len(keys) == made(tmp_path, config.method.precomputes[0]) == expected
