"""What a plan remembers of data sets, beside earlier times."""

from __future__ import annotations

from pathlib import Path

import pytest

from unsir_bench.cli.bootstrap import compose
from unsir_bench.data.dataset import RawData
from unsir_bench.data.torchvision_sets import Cifar10
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress
from unsir_bench.sweeps.earlier_times import History


def test_a_data_set_that_cannot_be_had_is_tried_once_for_all_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def read(config: Cifar10, _progress: Progress) -> RawData:
        asked.append(str(config.root))
        raise DataError("there is no network")

    monkeypatch.setattr(Cifar10, "read", read)
    history = History()
    for root in ("one", "one", "other"):
        config = compose(["dataset=cifar10", f"dataset.root={tmp_path}/{root}"])
        with pytest.raises(DataError, match="there is no network"):
            history.loaded(config)
    assert asked == [f"{tmp_path}/one", f"{tmp_path}/other"]
