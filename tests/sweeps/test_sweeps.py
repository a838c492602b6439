"""Sweeps as a user launches them: killed and resumed, with jobs that fail in every way, planned, skipped."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra

from tests.sweep_records import comparable, records
from unsir_bench.config import typed
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.sweeps.compose import JobComposer

pytestmark = pytest.mark.slow

KILL_SEED = "UNSIR_BENCH_KILL_SEED"  # a number: the moments at which sweeps are killed, else drawn anew each time
COMMAND = [sys.executable, "-m", "unsir_bench"]
TINY = [
    "dataset.subset=15", "model.width=4", "train.epochs=3", "tracker=none", "metrics=fast",
]  # fmt: skip
GRID = ["-m", "method=unsir,retrain,finetune,amnesiac", "forget=single,pair", "seed=0,1"]
TROUBLE = """
import os, signal
from dataclasses import dataclass
import torch
from unsir_bench.unlearning.method import UnlearningMethod

class Nothing(UnlearningMethod):
    @property
    def requires(self):
        return frozenset()

@dataclass
class Raises(Nothing):
    name: str = "raises"
    def unlearn(self, model, data, context):
        raise RuntimeError("out of ideas")

@dataclass
class Diverges(Nothing):
    name: str = "diverges"
    def unlearn(self, model, data, context):
        for parameter in model.parameters():
            parameter.data.fill_(float("nan"))
        return model

@dataclass
class KillsItself(Nothing):
    name: str = "kills_itself"
    def unlearn(self, model, data, context):
        os.kill(os.getpid(), signal.SIGKILL)

@dataclass
class TakesTooMuchMemory(Nothing):
    name: str = "takes_too_much_memory"
    def unlearn(self, model, data, context):
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
        return torch.ones(2**36)
"""


def arguments(folder: Path, *given: str) -> list[str]:
    flags, overrides = ([word for word in given if (word in ("-m", "plan")) is flag] for flag in (True, False))
    return [*COMMAND, *flags, *TINY, f"outputs={folder}", f"store.root={folder}/store", *overrides]


def command(folder: Path, *given: str, status: int = 0, plugins: Path | None = None) -> str:
    surroundings = dict(os.environ)
    if plugins is not None:
        surroundings |= {"PYTHONPATH": str(plugins), "UNSIR_BENCH_PLUGINS": "trouble"}
    done = subprocess.run(
        arguments(folder, *given), capture_output=True, text=True, timeout=600, check=False, env=surroundings
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def trained(folder: Path) -> dict[str, int]:
    """When each entry of the store was finished, in nanoseconds."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("store/entries/*/manifest.json")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, command(folder, *GRID)


def kill_after(seconds: float, folder: Path, *given: str) -> None:
    """SIGKILL a sweep, and nothing else, some seconds after its first sign of life; its processes must follow it."""
    before = len(list(folder.rglob("*")))
    process = subprocess.Popen(arguments(folder, *given), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(folder.rglob("*"))) == before and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(seconds)
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, f"still running after their sweep was killed: {alive}"


def test_a_sweep_killed_twice_ends_as_if_undisturbed_and_trains_each_model_once(
    undisturbed: tuple[Path, str], tmp_path: Path
) -> None:
    seed = int(os.environ.get(KILL_SEED) or random.SystemRandom().getrandbits(32))
    draws = random.Random(seed)
    moments = [draws.uniform(0.0, 2.5) for _ in range(2)]
    print(f"killed after {moments} s; the same moments again: {KILL_SEED}={seed}")
    kept: dict[str, int] = {}
    for moment in moments:
        kill_after(moment, tmp_path, *GRID)
        assert kept.items() <= trained(tmp_path).items(), "a finished training was done again"
        kept = trained(tmp_path)
    finished = {run_id for run_id, record in records(tmp_path).items() if record["status"] == "done"}
    printed = command(tmp_path, *GRID)
    assert f"{len(finished)} of 16 runs are finished and skipped" in printed
    assert comparable(records(tmp_path)) == comparable(records(undisturbed[0]))
    assert trained(tmp_path).keys() == trained(undisturbed[0]).keys()
    assert kept.items() <= trained(tmp_path).items()
    assert not list((tmp_path / "store" / "in_progress").glob("*"))


def test_a_sweep_trains_one_original_a_seed_and_one_retrain_a_seed_and_forget_set(
    undisturbed: tuple[Path, str],
) -> None:
    _, printed = undisturbed
    assert printed.count("training the original model (") == 2
    assert printed.count("training the retrain model (") == 4


@pytest.mark.parametrize(
    ("launcher", "seeds"),
    [
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], "0,1"),
        (["hydra/launcher=devices"], "0,1"),
        (["hydra/launcher=local"], "0"),
        (["hydra/launcher=ray_local"], "0"),
    ],
    ids=["joblib", "devices", "submitit", "ray"],
)
def test_two_runs_at_a_time_give_the_same_records_and_train_each_model_once(
    launcher: list[str], seeds: str, undisturbed: tuple[Path, str], tmp_path: Path
) -> None:
    count = len(seeds.split(","))
    printed = command(tmp_path, "-m", "method=unsir,retrain", "forget=single", f"seed={seeds}", *launcher)
    assert f"0 of {2 * count} runs are finished" in printed
    found, expected = comparable(records(tmp_path)), comparable(records(undisturbed[0]))
    assert len(found) == 2 * count
    assert found == {run_id: expected[run_id] for run_id in found}
    assert trained(tmp_path).keys() <= trained(undisturbed[0]).keys()
    logs = [path.read_text() for path in tmp_path.glob("runs/*/*.log")]
    for kind in ("original", "retrain"):
        assert sum(log.count(f"training the {kind} model (") for log in logs) == count


def test_a_sweep_ends_with_the_comparison_table_and_the_paths_of_what_it_wrote(undisturbed: tuple[Path, str]) -> None:
    folder, printed = undisturbed
    assert "A_Df %" in printed and "speed-up" in printed
    for name in ("table.md", "results.csv"):
        assert f"written: {folder}/runs/{name}" in printed
        assert (folder / "runs" / name).exists()


def test_finished_runs_are_skipped_without_being_launched(undisturbed: tuple[Path, str]) -> None:
    folder, _ = undisturbed
    before = comparable(records(folder))
    printed = command(folder, *GRID)
    assert "16 of 16 runs are finished and skipped" in printed
    assert "training the" not in printed and "#0" not in printed
    assert "A_Df %" in printed
    assert comparable(records(folder)) == before


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=finetune", "train.lr=0.02", "forget.classes=[1,2]", "seed=3"],
        ["method=unsir", "method.impair.lr=0.5", "++method.noise.steps=3", "dataset=made_classes", "dataset.classes=7"],
        "experiment=cifar10_single scale=smoke dataset=digits model=allcnn_tiny train=smoke metrics=fast "
        "method=fisher method.alpha=1e-7".split(),
        ["experiment=digits_demo", "forget={classes: [4], random_k: null}", "+hydra.job.env_set={A: b}"],
    ],
)
def test_the_sweeper_composes_what_hydra_composes(overrides: list[str]) -> None:
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        master = compose("config", return_hydra_config=True)
        composer = JobComposer.of_sweep(GlobalHydra.instance().config_loader(), master)
        composer.compose(["seed=9", *overrides])  # what it keeps of one job must not leak into the next
        assert typed(composer.compose(overrides)) == typed(compose("config", overrides))


def plugin_with_troubles(folder: Path) -> Path:
    package = folder / "plugins" / "trouble"
    (package / "conf" / "method").mkdir(parents=True)
    (package / "__init__.py").write_text(TROUBLE)
    (package / "conf" / "__init__.py").touch()
    for name in ("raises", "diverges", "kills_itself", "takes_too_much_memory"):
        text = f"defaults:\n  - /schema/method/{name}@_here_\n  - _self_\n\nname: {name}\n"
        (package / "conf" / "method" / f"{name}.yaml").write_text(text)
    return package.parent


def test_jobs_that_fail_in_every_way_cost_only_themselves_and_are_all_reported(tmp_path: Path) -> None:
    plugins = plugin_with_troubles(tmp_path)
    folder = tmp_path / "runs"
    methods = "raises,original,diverges,kills_itself,takes_too_much_memory,finetune"
    grid = ["-m", f"method={methods}", "dataset=digits,image_folder", f"dataset.root={tmp_path}/nothing"]
    printed = command(folder, *grid, status=1, plugins=plugins)
    found = {(record["method"], record["dataset"]): record for record in records(folder).values()}
    assert len(found) == 12
    on_digits = {"original": "done", "finetune": "done", "diverges": "diverged"}
    assert {key: record["status"] for key, record in found.items()} == {
        (method, dataset): on_digits.get(method, "failed") if dataset == "digits" else "failed"
        for method in methods.split(",")
        for dataset in ("digits", "image_folder")
    }
    assert 'raise RuntimeError("out of ideas")' in found["raises", "digits"]["error"]
    assert "killed by signal 9 (SIGKILL)" in found["kills_itself", "digits"]["reason"]
    assert "memory" in found["takes_too_much_memory", "digits"]["reason"].lower()
    assert found["kills_itself", "digits"]["forget_names"] == ["0"]
    for (method, dataset), record in found.items():
        troubled = record["status"] != "done"
        assert (f"{record['status']}: {record['run_id']}:" in printed) is troubled, (method, dataset)
        if troubled:
            assert f"again:  {record['command']}" in printed
    assert f"dataset.root={tmp_path}/nothing: there is no such folder" in printed


def test_the_command_of_a_record_does_that_run_alone(undisturbed: tuple[Path, str], tmp_path: Path) -> None:
    wanted = next(record for record in records(undisturbed[0]).values() if record["method"] == "unsir")
    assert wanted["command"].startswith("unsir-bench ")
    words = wanted["command"].split()[1:]
    command(tmp_path, *words, f"outputs={tmp_path}", f"store.root={tmp_path}/store")
    assert comparable(records(tmp_path))[wanted["run_id"]] == comparable({wanted["run_id"]: wanted})[wanted["run_id"]]


def test_a_diverged_run_alone_is_reported_and_does_not_fail_the_sweep(tmp_path: Path) -> None:
    printed = command(tmp_path, "-m", "method=finetune", "method.train.lr=1e30", "method.train.clip_value=null")
    assert [record["status"] for record in records(tmp_path).values()] == ["diverged"]
    assert "diverged: finetune-digits" in printed and "again:  unsir-bench" in printed


@pytest.mark.parametrize(
    ("launcher", "target"),
    [
        ("slurm", "SlurmLauncher"),
        ("ray_local", "RayLauncher"),
        ("ray_cluster", "RayLauncher"),
        ("joblib", "JoblibLauncher"),
        ("local", "LocalLauncher"),
        ("devices", "DevicesLauncher"),
    ],
)
def test_every_launcher_preset_composes(launcher: str, target: str) -> None:
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        composed = compose("config", [f"hydra/launcher={launcher}"], return_hydra_config=True)
    assert composed.hydra.launcher._target_.endswith(f".{target}")
    assert composed.hydra.launcher.get("timeout_min", 240) >= 240  # minutes; submitit's own default is 60


def test_a_plan_starts_nothing_and_names_what_would_be_made(tmp_path: Path) -> None:
    # Entries as earlier versions wrote them, which say less of what they were made from, must not stop it.
    earlier = [{"seconds": 9.0}, {"seconds": 9.0, "description": {"kind": "fisher_diagonal", "samples": "ab"}}]
    for name, manifest in enumerate(earlier):
        (tmp_path / "store" / "entries" / str(name)).mkdir(parents=True)
        (tmp_path / "store" / "entries" / str(name) / "manifest.json").write_text(json.dumps(manifest))
    before = sorted(tmp_path.rglob("*"))
    methods = "method=unsir,retrain,amnesiac_subtract,fisher"
    printed = command(tmp_path, "plan", methods, "seed=0,1", "forget.classes=[0],[11]")
    assert sorted(tmp_path.rglob("*")) == before
    for kind in ("original", "retrain", "training log", "fisher diagonal"):
        assert row(printed, kind) == ["2", "0", "2"]
        assert "?" not in line(printed, kind) or kind == "fisher diagonal", "a training is tried where none is recorded"
    assert row(printed, "runs") == ["8", "0", "8"]
    assert printed.count("11 is no class") == 1 and re.search(r"cannot run: 8 runs, the first: .*method=unsir", printed)
    assert "nothing was started" in printed and "no earlier record" in printed


def test_a_login_node_plans_for_an_accelerator_that_it_lacks(tmp_path: Path) -> None:
    absent = next(name for name in ("cuda", "mps") if HardwareConfig(accelerator=name).absent)
    words = [f"hardware.accelerator={absent}", "hardware.precision=16-mixed", "method=unsir,retrain"]
    printed = command(tmp_path, "plan", *words)
    assert row(printed, "original") == ["1", "0", "1"] and "?" in line(printed, "original")
    assert row(printed, "runs") == ["2", "0", "2"]
    assert f"this machine has no {absent}: times are those of earlier records alone" in printed
    assert "cannot run" not in printed


def test_a_plan_by_a_sweeper_that_would_launch_the_runs_is_refused(tmp_path: Path) -> None:
    # The words hydra/sweeper=basic come to the same, and a look at the words alone would pass over this.
    sweeper = f"hydra.sweeper._target_={BasicSweeper.__module__}.BasicSweeper"
    printed = command(tmp_path, "plan", sweeper, "method=original", status=1)
    assert "this command needs hydra/sweeper=resuming, not hydra._internal" in printed
    assert list(tmp_path.iterdir()) == []


def test_a_plan_after_a_part_names_what_is_there_and_estimates_the_rest(undisturbed: tuple[Path, str]) -> None:
    folder, _ = undisturbed
    before = sorted(folder.rglob("*"))
    printed = command(folder, "plan", "-m", "method=unsir,retrain", "forget=single", "seed=0,1,2")
    assert sorted(folder.rglob("*")) == before
    assert row(printed, "original") == ["1", "0", "1"]  # of the finished runs nothing is needed any more
    assert row(printed, "retrain") == ["1", "0", "1"]
    assert row(printed, "runs") == ["6", "4", "2"]
    assert "no earlier record" not in printed and "about " in printed


def line(printed: str, what: str) -> str:
    """A row of the plan."""
    [found] = [line for line in printed.splitlines() if line.strip("│ ").startswith(f"{what} ")]
    return found.strip("│ ")


def row(printed: str, what: str) -> list[str]:
    """The numbers of a row of the plan."""
    return [cell.strip() for cell in line(printed, what).split("│")][1:4]


def test_a_plugin_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    printed = command(tmp_path, status=1, plugins=tmp_path / "nowhere")
    assert "plug-in trouble cannot be imported" in printed and "UNSIR_BENCH_PLUGINS" in printed
    assert "Traceback" not in printed
