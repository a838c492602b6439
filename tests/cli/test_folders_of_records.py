"""Where records go, whatever the command line says of Hydra's folders, and how odd paths are written."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.types import RunMode

from tests.cli.commands import answers
from unsir_bench.cli import run as command
from unsir_bench.cli.bootstrap import compose
from unsir_bench.records import RunRecord
from unsir_bench.tracking import run as tracking
from unsir_bench.tracking.run import start_tracker
from unsir_bench.tracking.tracker_config import TrackerConfig

FAST = (
    "tracker=none", "hardware=cpu", "hardware.threads=1", "metrics=fast", "model=allcnn_tiny", "train=smoke",
    "method=logit_mask", "dataset.subset=5", "isolate=false", "store.root=st",
)  # fmt: skip


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir", "+hydra.sweep.subdir"])
def test_hydra_s_keys_of_folders_are_refused_with_the_keys_to_use(key: str) -> None:
    (line,) = command._unreadable(["-m", f"{key}=here"])
    assert line.startswith(f"{key}=here: records lie in OUTPUTS/SWEEP/RUN_ID")
    assert "outputs=FOLDER and sweep=NAME" in line


@pytest.mark.slow
def test_records_lie_where_outputs_says_in_changed_folders_and_odd_paths(tmp_path: Path) -> None:
    config = tmp_path / "own"
    (config / "moved").mkdir(parents=True)
    (config / "moved" / "x.yaml").write_text("# @package _global_\nhydra:\n  run:\n    dir: elsewhere\n")
    cases = [
        (*FAST, "hydra.job.chdir=true", "outputs=inside"),
        ("-m", *FAST, "outputs='a=b, c'", "seed=0"),
        ("--config-dir", str(config), *FAST, "+moved=x"),
        (*FAST, "outputs=a,b"),
    ]
    told = answers(cases, tmp_path)
    assert [told[case].status for case in cases] == [0, 0, 1, 1], told
    found = sorted(path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("record.json"))
    assert found == ["a=b, c", "inside"]
    assert "elsewhere: records lie in OUTPUTS/SWEEP/RUN_ID" in told[cases[2]].printed
    assert "quote the value" in told[cases[3]].printed


def test_files_of_indices_are_those_of_the_given_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    hydras = SimpleNamespace(
        runtime=SimpleNamespace(cwd="/given", output_dir="/changed"),
        job=SimpleNamespace(chdir=True),
        mode=RunMode.MULTIRUN,
    )
    monkeypatch.setattr(command.HydraConfig, "get", lambda: hydras)
    config = compose(["forget=sequence"])
    config.forget.sequence = ["a.txt", {"file": "in/b.txt"}, "/c.txt", ["cat"], "cat"]
    command._keep_the_given_folder(config)
    assert config.forget.sequence == ["/given/a.txt", {"file": "/given/in/b.txt"}, "/c.txt", ["cat"], "cat"]


def test_wandb_is_not_started_where_its_own_variable_disables_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(tracking, "_wandb_run", lambda *_: pytest.fail("W&B was started"))
    record = RunRecord("id", "sweep", "unsir", "digits", "allcnn", 0, {})
    start_tracker(TrackerConfig(mode="online"), record, tmp_path).report(record, tmp_path)
    assert not list(tmp_path.iterdir())
