"""Odd homes, locales, names and temporary folders: the command ends well, or in one line before any work."""

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conf.test_configs import composed
from unsir_bench.cli import run as command
from unsir_bench.cli.terminal import print_any_letter
from unsir_bench.config import LONGEST_NAME, at_home
from unsir_bench.data import image_cache
from unsir_bench.data.folders import ImageFolder
from unsir_bench.errors import DataError
from unsir_bench.runner import log_failure
from unsir_bench.runtime.progress import Progress
from unsir_bench.sweeps import isolation

FAST = [
    "tracker=none", "hardware=cpu", "hardware.threads=1", "metrics=fast", "model=allcnn_tiny", "train.epochs=1",
    "method=finetune", "dataset=image_folder",
]  # fmt: skip


def images(root: Path, *classes: str) -> Path:
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


# Paths


def test_a_quoted_tilde_is_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = composed("store.root='~/st'", "outputs='~/out'", "dataset.root='~'", "model.weights='~/w.safetensors'")
    assert config.store.root == str(tmp_path / "st")
    assert config.folder.parent == tmp_path / "out" / "runs"
    assert config.dataset.root == str(tmp_path)
    assert config.model.weights == str(tmp_path / "w.safetensors")
    sequence = composed("forget=sequence", "forget.sequence=['~/a.txt',{file:'~/b.txt'},{count:1},[0]]").forget.sequence
    assert sequence == [str(tmp_path / "a.txt"), {"file": str(tmp_path / "b.txt")}, {"count": 1}, [0]]
    assert at_home("a~b") == "a~b"


def test_hydra_s_own_folders_follow_a_quoted_tilde() -> None:
    text = (Path(__file__).resolve().parents[2] / "conf" / "config.yaml").read_text(encoding="utf-8")
    assert text.count("dir: ${unsir_path:${outputs}}/${sweep}") == 2


@pytest.mark.parametrize(
    ("word", "way"),
    [
        ("dataset.root=~/x", "\"dataset.root='~/x'\""),
        ("dataset.root=/a=b", "\"dataset.root='/a=b'\""),
        ("forget.classes=[猫]", "\"forget.classes=['a name','another']\""),
    ],
)
def test_a_value_that_hydra_cannot_read_is_one_line_with_the_way_to_write_it(word: str, way: str) -> None:
    (line,) = command._unreadable(["-m", "seed=0,1", word, "--config-dir", "/a=b=c"])
    assert line.startswith(f"{word}: cannot be read")
    assert way in line
    assert (
        list(command._unreadable(["dataset.root='~/x'", "forget.classes=['猫']", "method=glob(*)", "~tracker"])) == []
    )


# Long names


def test_a_long_name_is_cut_to_what_folders_and_weights_and_biases_hold() -> None:
    ids = [composed(f"model.name={'x' * 240}{end}").run_id for end in ("a", "b")]
    assert [len(run_id) for run_id in ids] == [LONGEST_NAME] * 2
    assert len(set(ids)) == 2
    assert len(composed("model.name=short").run_id) < LONGEST_NAME


# Users without a home


def test_without_a_home_decoded_images_go_to_a_temporary_folder_of_the_user_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless(name: str) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(image_cache, "user_cache_path", homeless)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = images(tmp_path / "set", "a", "b")
    (root / ".unsir_bench_cache").write_text("a file where the folder should be")
    dataset = ImageFolder(root=str(root))
    assert len(dataset.load(Progress(interactive=False)).train) == 12
    folder = tmp_path / f"unsir-bench-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.glob("*/*/manifest.json"))


def test_a_temporary_folder_that_somebody_else_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"unsir-bench-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(DataError, match="another user's; set XDG_CACHE_HOME"):
        image_cache._temporary_cache()


# Long TMPDIR


def test_sockets_are_kept_out_of_a_long_tmpdir(tmp_path: Path) -> None:
    long = tmp_path / "/".join(["long_folder_name" * 3] * 3)
    long.mkdir(parents=True)
    script = (
        "import multiprocessing, multiprocessing.util, tempfile\n"
        "from unsir_bench.sweeps.isolation import process_context\n"
        "process_context()\n"
        "print(multiprocessing.util.get_temp_dir()); print(tempfile.gettempdir())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(long)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    sockets, rest = done.stdout.splitlines()
    assert len(sockets) < isolation.LONGEST_TMPDIR
    assert rest == str(long)


# Letters


def test_a_letter_that_the_terminal_lacks_is_printed_as_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    print_any_letter()
    print("café 猫", flush=True)
    assert written.getvalue() == b"caf\\xe9 \\u732b\n"


@pytest.mark.parametrize("kind", [DataError, OSError])
def test_an_escape_in_an_error_never_reaches_the_terminal(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    log_failure(kind("no images of class \x1b]0;owned\x07"), "run")
    assert r"run: no images of class \x1b]0;owned\x07" in caplog.text
    assert not set(caplog.text) & set("\x1b\x07")
    assert "Traceback" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("encoding", [None, "ascii"])
def test_in_an_ascii_locale_with_warnings_as_errors_and_a_narrow_terminal_the_record_is_that_of_any_other(
    tmp_path: Path, encoding: str | None
) -> None:
    root = images(tmp_path / "d", "café", "猫", "b")
    surroundings = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    surroundings |= {"PYTHONWARNINGS": "error", "COLUMNS": "20"}
    if encoding:
        surroundings["PYTHONIOENCODING"] = encoding
    words = [
        *FAST,
        f"dataset.root={root}",
        f"outputs={tmp_path}/out",
        f"store.root={tmp_path}/st",
        "forget.classes=['猫']",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "unsir_bench", *words], env=surroundings, capture_output=True, cwd=tmp_path, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")
    (path,) = (tmp_path / "out" / "runs").glob("*/record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (record["status"], record["forget_names"]) == ("done", ["猫"])
