"""What a plan writes: the cache of decoded images, and nothing else."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from unsir_bench.cli.bootstrap import compose
from unsir_bench.data.image_cache import CACHE_FOLDER
from unsir_bench.sweeps.outcome import SweepJob
from unsir_bench.sweeps.plan import Plan


def test_a_plan_of_a_folder_of_images_writes_its_cache_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for number in range(16):
        path = root / ("train" if number % 2 else "test") / f"class{number // 8}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(path)
    before = set(tmp_path.rglob("*"))
    data = ["dataset=image_folder", f"dataset.root={root}", "dataset.image_size=8", "forget.classes=[0]"]
    own = ["model=allcnn_tiny", "hardware=cpu", f"outputs={tmp_path}/outputs", f"store.root={tmp_path}/store"]
    words = [*data, *own]
    plan = Plan.of([SweepJob.of(words, compose(words))])
    assert not plan.refused and len(plan.to_run) == 1
    written = set(tmp_path.rglob("*")) - before
    assert written and all(path.is_relative_to(root / CACHE_FOLDER) for path in written)
