"""A training that was resumed says of all its sessions where they ran, and the memory of the largest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from unsir_bench.references import training_sessions
from unsir_bench.references.checkpoint import TrainingCheckpoint
from unsir_bench.references.trained_models import ReferenceModels, TrainedModel
from unsir_bench.runtime.peak_memory import PeakMemory
from unsir_bench.training.context import RunContext

MakeContext = Callable[..., RunContext]


@pytest.fixture
def session(
    references: ReferenceModels, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., TrainedModel]:
    """Train the original with a number of threads and a peak memory; ``saves``: it is interrupted after so many."""
    save = TrainingCheckpoint.save

    def trained(threads: int, peak: int, saves: int = 99, drop: str = "") -> TrainedModel:
        left = iter(range(saves - 1))

        def interrupted(self: TrainingCheckpoint, state: dict[str, Any]) -> None:
            save(self, {name: value for name, value in state.items() if name != drop})
            if next(left, None) is None:
                raise KeyboardInterrupt

        monkeypatch.setattr(TrainingCheckpoint, "save", interrupted)
        monkeypatch.setattr(training_sessions, "provenance", lambda device: {"threads": threads})
        monkeypatch.setattr(PeakMemory, "read", lambda _: peak)
        return references.original(make_context())

    return trained


def interrupted(session: Callable[..., TrainedModel], *given: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        session(*given)


def test_a_training_resumed_elsewhere_names_all_its_sessions(session: Callable[..., TrainedModel]) -> None:
    interrupted(session, 1, 900, 1)
    interrupted(session, 2, 400, 1)
    interrupted(session, 2, 300, 1)
    manifest = session(4, 500).manifest
    assert manifest["trained_in"] == {"threads": 4, "resumed_from": [{"threads": 1}, {"threads": 2}]}
    assert manifest["peak_memory_bytes"] == 900


def test_a_training_resumed_in_the_same_surroundings_names_them_once(session: Callable[..., TrainedModel]) -> None:
    interrupted(session, 2, 400, 4)  # after its last epoch: all that is left is to write it
    manifest = session(2, 100).manifest
    assert (manifest["trained_in"], manifest["peak_memory_bytes"]) == ({"threads": 2}, 400)


def test_a_checkpoint_of_an_earlier_release_is_resumed(session: Callable[..., TrainedModel]) -> None:
    interrupted(session, 1, 400, 2, "sessions")
    manifest = session(2, 100).manifest
    assert (manifest["trained_in"], manifest["peak_memory_bytes"]) == ({"threads": 2}, 100)
