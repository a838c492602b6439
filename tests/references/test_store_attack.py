"""A few of the attacks of `python -m tests.benchmarks.store_damage`, on every kind of file of a store."""

from __future__ import annotations

import os

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.benchmarks.store_damage import Attacked, Target, attack
from unsir_bench.references.store import Entry

SEED = int(os.environ.get("UNSIR_BENCH_TEST_SEED", "0"))
KINDS = {
    "original",
    "retrain",
    "features",
    "scores",
    "log",
    "precomputation",
    "unlearned",
    "checkpoint",
    "decoded cache",
}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    return Attacked(tmp_path_factory.mktemp("attacked"))


@pytest.mark.slow
def test_no_damage_is_used_silently_and_the_next_start_heals_it(attacked: Attacked) -> None:
    assert {target.kind for target in attacked.targets} == KINDS
    tally = attack(attacked, len(attacked.targets), 12, SEED)
    assert (tally.used, tally.left) == ([], [])
    assert tally.flips.keys() == KINDS and tally.damages.total() == 12


def negated(target: Target) -> None:
    weights = load_file(target.path)
    save_file({name: -value if value.is_floating_point() else value for name, value in weights.items()}, target.path)


def unverified(entry: Entry, name: str) -> dict[str, Tensor]:
    return load_file(entry.folder / f"{name}.safetensors")


@pytest.mark.slow
def test_the_attack_sees_damage_that_is_used(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = next(each for each in attacked.targets if (each.kind, each.name) == ("original", "logits.safetensors"))
    content = logits.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Entry, "tensors", unverified)
        assert attacked.verdict(logits, negated) == (True, True)  # whole to a reader that does not verify
    with pytest.raises(Exception, match="does not match its hash"):
        attacked.whole()
    logits.path.write_bytes(content)
    assert attacked.whole()
