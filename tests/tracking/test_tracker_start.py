"""A tracker that cannot start, fails or is absent costs a run nothing but one warning."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from tests.tracking.fake_run import FakeRun, start, use_whole
from tests.tracking.offline_file import SECRET, WhatIsWritten
from unsir_bench.cli.bootstrap import bootstrap
from unsir_bench.cli.bootstrap import compose as compose_config
from unsir_bench.cli.run import _refuse_places, run_command
from unsir_bench.errors import ConfigError
from unsir_bench.runner import run
from unsir_bench.tracking import run as tracking
from unsir_bench.tracking.run import Tracker
from unsir_bench.tracking.tracker_config import holds_password, without_passwords


@pytest.fixture
def warnings_of(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, logger="unsir_bench")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("failing", ["log", "config", "summary", "finish"])
def test_a_fault_of_the_tracker_is_one_warning_and_silences_it(
    failing: str, warnings_of: Callable[[], list[str]]
) -> None:
    run = FakeRun(failing)
    use_whole(Tracker(run))
    [warning] = warnings_of()
    assert f"ConnectionError: {failing} is down" in warning
    assert "the run goes on" in warning
    assert [call[0] for call in run.calls].count(failing) == (2 if failing == "finish" else 1)
    assert run.calls[-1][0] == "finish"  # what was logged before is kept


@pytest.mark.parametrize("failing", ["init", "define_metric"])
def test_a_tracker_that_does_not_start_is_one_warning(
    failing: str, warnings_of: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def init(**_options: Any) -> FakeRun:
        if failing == "init":
            raise ConnectionError("init is down")
        return FakeRun(failing)

    fake = ModuleType("wandb")
    fake.init, fake.Settings = init, dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    use_whole(start("offline", tmp_path))
    [warning] = warnings_of()
    assert f"{failing} is down" in warning


def test_a_tracker_that_hangs_at_its_start_is_given_up_and_logged_offline(
    warnings_of: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, killed, released = FakeRun(), [], threading.Event()

    def begun(_config: Any, mode: str, *_: Any) -> FakeRun:
        if mode == "online":
            released.wait(60)
        return run

    monkeypatch.setenv(tracking.UNREACHABLE, "")
    monkeypatch.setattr(tracking, "_wandb_run", begun)
    monkeypatch.setattr(tracking, "_kill_service", lambda: killed.append(True))
    monkeypatch.setattr(tracking, "LONGEST_CALL", 0.2)
    use_whole(start("online", tmp_path))
    released.set()
    [warning] = warnings_of()
    assert "did not start online (TimeoutError: no answer within 0.2 s)" in warning and "logged offline" in warning
    assert killed == [True] and run.calls[-1] == ("finish", 0)
    assert os.environ[tracking.UNREACHABLE].startswith("TimeoutError")


def test_an_absent_wandb_is_one_warning(
    warnings_of: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    use_whole(start("offline", tmp_path))
    assert len(warnings_of()) == 1


def test_a_folder_that_cannot_be_written_is_one_warning(warnings_of: Callable[[], list[str]], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    use_whole(start("offline", tmp_path / "file" / "run"))
    [warning] = warnings_of()
    assert "NotADirectoryError" in warning
    assert "goes on without it" in warning


def test_an_online_run_without_a_key_is_logged_offline(
    warnings_of: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tracking, "login_problem", lambda: "no API key")
    use_whole(start("online", tmp_path), tmp_path)
    [warning] = warnings_of()
    assert "no API key: run `wandb login` or set WANDB_API_KEY" in warning
    assert "logged offline" in warning
    [file] = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert WhatIsWritten.read(file).summary["retain"] == 0.7


def test_an_online_run_that_reaches_no_server_is_logged_offline(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path\n"
        "from unsir_bench.records import RunRecord\n"
        "from unsir_bench.tracking.run import start_tracker\n"
        "from unsir_bench.tracking.tracker_config import TrackerConfig\n"
        "record = RunRecord('id', 'sweep', 'unsir', 'digits', 'allcnn', 0, {}, metrics={'retain': 0.7})\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "tracker = start_tracker(TrackerConfig(mode='online'), record, folder)\n"
        "tracker.report(record, folder); tracker.finish(failed=False)\n"
    )
    # The service of this process would be the script's too.
    own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    nowhere = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": SECRET, "WANDB_INIT_TIMEOUT": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**own, **nowhere})
    assert done.returncode == 0, done.stderr
    assert "did not start online" in done.stderr
    assert "did not start offline" not in done.stderr
    assert SECRET not in done.stdout + done.stderr
    [file] = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert WhatIsWritten.read(file).summary["retain"] == 0.7


def test_maps_that_cannot_be_read_cost_the_summary_nothing(
    warnings_of: Callable[[], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "grad_cam.safetensors").write_bytes(b"half a file")
    use_whole(start("offline", tmp_path), tmp_path)
    assert len(warnings_of()) == 1
    [file] = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    written = WhatIsWritten.read(file)
    assert written.summary["retain"] == 0.7
    assert written.exit_code == 1


def test_mode_none_never_imports_wandb(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from unsir_bench.records import RunRecord\n"
        "from unsir_bench.tracking.run import start_tracker\n"
        "from unsir_bench.tracking.tracker_config import TrackerConfig\n"
        "record = RunRecord('id', 'sweep', 'unsir', 'digits', 'allcnn', 0, {})\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "tracker = start_tracker(TrackerConfig(mode='none'), record, folder)\n"
        "tracker.log('impair', 1, {'loss': 1.0}); tracker.report(record, folder); tracker.finish(failed=False)\n"
        "sys.exit('wandb' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "holds"),
    [
        ("https://me:hidden@host:5000", True),
        ("https://hidden@host", True),
        ("postgresql://bob:hid/hidden@db/mlflow", True),
        ("postgresql://bob:p?hidden@db/mlflow", True),
        ("postgresql://bob:#h@hidden@db", True),
        ("mysql://:/hidden@db", True),
        ("http://[::1]:5000/a@b", False),
        ("https://host:5000?a@b", False),
        ("https://host/api?password=hidden", True),
        ("https://host?experiment=1&Access_Token=hidden", True),
        ("https://bucket/x?X-Amz-Signature=hidden", True),
        ("https://blob/x?sv=1&sig=hidden", True),
        ("postgresql://host/db?sslmode=require", False),
        ("https://host:5000/a@b", False),
        ("sqlite:////home/me@here/mlflow.db", False),
        ("databricks", False),
        ("https://[half", False),
    ],
)
def test_a_name_a_password_or_a_token_in_an_address_is_found_and_taken_out_of_texts(address: str, holds: bool) -> None:
    assert holds_password(address) is holds
    text = f"cannot connect to {address}: refused"
    assert "hidden" not in without_passwords(text) and without_passwords(text).endswith(" refused")
    assert (without_passwords(text) == text) is not holds


def fake_mlflow(monkeypatch: pytest.MonkeyPatch, logger: Callable[..., Any]) -> None:
    fake, package = ModuleType("pytorch_lightning.loggers"), ModuleType("pytorch_lightning")
    fake.MLFlowLogger = logger  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pytorch_lightning", package)
    monkeypatch.setitem(sys.modules, "pytorch_lightning.loggers", fake)


def test_an_mlflow_that_cannot_be_reached_is_warned_of_without_the_password(
    warnings_of: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*_: Any, tracking_uri: str, **__: Any) -> None:
        raise ConnectionError(f"API request to {tracking_uri}/api failed")

    fake_mlflow(monkeypatch, refused)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:hidden@host:5000")
    start("mlflow", tmp_path / "sweep" / "run-id")
    [warning] = warnings_of()
    assert "ConnectionError: API request to https://host:5000/api failed" in warning


def test_mlflow_is_told_neither_the_program_nor_who_is_logged_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tags: dict[str, str] = {}

    def logger(*_: Any, **given: Any) -> SimpleNamespace:
        tags.update(given["tags"])
        return SimpleNamespace(run_id="1")

    fake_mlflow(monkeypatch, logger)
    start("mlflow", tmp_path / "sweep" / "run-id")
    assert (tags["mlflow.user"], tags["mlflow.source.name"]) == ("", "unsir-bench")


@pytest.mark.parametrize(
    "word",
    [
        "tracker.uri='https://me:hidden@host:5000'",
        "tracker.uri='https://me:h,hidden@host',null",
        "tracker={mode:mlflow,uri:'https://me:hidden@host'},{mode:none}",
    ],
)
def test_a_sweep_with_a_password_in_an_address_leaves_it_nowhere(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", word, "seed=0,1", f"outputs={tmp_path}/out"]
    with pytest.raises(SystemExit) as ended:
        run_command(words)
    assert "tracker.uri: holds a password" in str(ended.value) and "hidden" not in str(ended.value)
    assert "hidden" not in "".join(capsys.readouterr()) and not (tmp_path / "out").exists()


def test_a_sweep_over_options_of_which_one_has_a_password_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "tracker").mkdir(parents=True)
    option = "defaults: [none, _self_]\nmode: mlflow\nuri: https://me:hidden@host\n"
    (tmp_path / "conf" / "tracker" / "own.yaml").write_text(option)
    places = [f"hydra.searchpath=[file://{tmp_path}/conf]", f"outputs={tmp_path}/out", f"store.root={tmp_path}/store"]
    with pytest.raises(SystemExit) as ended:
        run_command(["-m", "tracker=none,own", *places])
    assert "tracker.uri: holds a password" in str(ended.value) and "hidden" not in "".join(capsys.readouterr())
    assert "hidden" not in "".join(path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_a_run_from_python_whose_record_would_show_a_password_is_refused(tmp_path: Path) -> None:
    config = compose_config([f"outputs={tmp_path}", f"store.root={tmp_path}/store", "tracker=mlflow"])
    config.tracker.uri = "https://me:hidden@host"
    with pytest.raises(ConfigError, match=r"tracker\.uri: holds a password"):
        run(config)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "refused"),
    [
        ("+hydra.job.env_set.WANDB_API_KEY=hidden", True),
        ("+hydra.job.env_set={MLFLOW_TRACKING_PASSWORD: hidden}", True),
        ("+hydra.job.env_set.HTTPS_PROXY='http://me:hidden@proxy'", True),
        ("+hydra.job.env_set.WANDB_API_KEY='${oc.env:HIDDEN_KEY}'", False),
        ("+hydra.job.env_set.OMP_NUM_THREADS=2", False),
    ],
)
def test_a_secret_in_a_job_s_variables_is_refused_before_hydra_keeps_it(
    word: str, refused: bool, tmp_path: Path
) -> None:
    bootstrap()
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        composed = compose("config", [word, f"store.root={tmp_path}/store"], return_hydra_config=True)
    if not refused:
        _refuse_places(composed, tmp_path / "out")
        return
    with pytest.raises(SystemExit, match=r"hydra\.job\.env_set\.\w+: Hydra's files .* export \w+ instead") as ended:
        _refuse_places(composed, tmp_path / "out")
    assert "hidden" not in str(ended.value)


def test_a_password_that_a_file_sets_is_kept_nowhere_either(tmp_path: Path) -> None:
    bootstrap()
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        composed = compose("config", ["tracker=mlflow", "tracker.uri='https://me:hidden@host:5000'"])
    with pytest.raises(SystemExit, match=r"tracker\.uri: holds a password") as ended:
        _refuse_places(composed, tmp_path / "out")
    assert "hidden" not in str(ended.value) and not (tmp_path / "out").exists()
