"""Records whose files were moved: `evaluate` and `reproduce` take the new path, and refuse another file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import save_file

from unsir_bench.cli.bootstrap import compose
from unsir_bench.cli.evaluate import evaluate_command
from unsir_bench.cli.moved_paths import moved_paths
from unsir_bench.cli.recorded_config import CannotRepeatError, config_of
from unsir_bench.cli.reproduce import reproduce_command
from unsir_bench.data.dataset import load_cached
from unsir_bench.data.forget_samples import IndexFile
from unsir_bench.errors import ConfigError
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.records import RECORD_FILE, RunRecord
from unsir_bench.runner import run
from unsir_bench.runtime.progress import Progress

TINY = ["dataset=digits", "dataset.subset=10", "train.epochs=1", "metrics=fast", "tracker=none", "hardware=cpu",
        "hardware.threads=1", "method=original"]  # fmt: skip
NETWORK = ["model=allcnn_slim", "model.width=4"]
HEAD = ["model=frozen_head", "model.backbone.width=4", "model.trained_on=weights"]
ADDED = "metrics.weights=true"
# By key: the words of a run beside its file, the value that names the file, and the file's suffix.
KEYS = {
    "model.weights": (NETWORK, "{}", ".safetensors"),
    "model.backbone.weights": (HEAD, "{}", ".safetensors"),
    "forget.file": ([*NETWORK, "forget=indices"], "{}", ".json"),
    "forget.sequence": ([*NETWORK, "forget=sequence"], "[{},[3]]", ".json"),
}


def write(file: Path, number: int) -> None:
    """Another content for each number."""
    file.parent.mkdir(exist_ok=True)
    if file.suffix == ".safetensors":
        save_file(AllCNNConfig(width=4).initial((1, 8, 8), 10, number).state_dict(), file)
    else:
        data = load_cached(compose(TINY).dataset, Progress(interactive=False)).fingerprint
        IndexFile(data, (number, number + 1)).write(file)


@pytest.fixture(params=KEYS)
def moved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Callable[[str], str]]:
    """A key, the folder of a finished run whose file is gone from where it was, and the word for the file of a name.

    ``right`` is the run's file, and ``wrong`` another one.
    """
    key = request.param
    words, value, suffix = KEYS[key]
    write(tmp_path / f"then{suffix}", 1)
    places = [f"outputs={tmp_path}", f"store.root={tmp_path}/store"]
    config = compose([*TINY, *words, *places, f"{key}={value.format(tmp_path / f'then{suffix}')}"])
    folder, record = config.folder, run(config)  # the id is a hash of the file
    assert record.status == "done", record.reason
    (tmp_path / f"then{suffix}").rename(tmp_path / f"right{suffix}")
    write(tmp_path / f"wrong{suffix}", 5)
    return key, folder, lambda name: f"{key}={value.format(tmp_path / f'{name}{suffix}')}"


def test_a_moved_file_is_given_by_its_key_and_another_one_is_refused(
    moved: tuple[str, Path, Callable[[str], str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, place, word = moved
    folder, store = str(place), ["--store", str(tmp_path / "store")]
    before = RunRecord.read(place / RECORD_FILE)
    # A sequence's file has the key of a single one in complaints about it.
    shown = ("forget.file=" if key == "forget.sequence" else f"{key}=") + str(tmp_path / "then")
    assert evaluate_command([folder, ADDED]) == 1
    assert shown in capsys.readouterr().out
    assert reproduce_command([folder, *store]) == 2
    assert shown in capsys.readouterr().out
    wrong = word("wrong").replace(",[3]", ", [3]").replace("[/", "['/").replace(".json,", ".json',")
    assert evaluate_command([folder, ADDED, word("wrong")]) == 1
    assert f"{wrong} is another file than the run's (give that one by this key)" in capsys.readouterr().out
    assert reproduce_command([folder, *store, word("wrong")]) == 2
    assert f"{wrong} is another file" in capsys.readouterr().out
    assert RunRecord.read(place / RECORD_FILE) == before

    assert evaluate_command([folder, ADDED, word("right")]) == 0, capsys.readouterr().out
    after = RunRecord.read(place / RECORD_FILE)
    assert set(after.metrics) > set(before.metrics) and after.config == before.config
    assert reproduce_command([folder, *store, word("right")]) == 0, capsys.readouterr().out


def test_a_path_changes_no_run_that_has_no_such_file(tmp_path: Path) -> None:
    config = compose([*TINY, *NETWORK, f"outputs={tmp_path}", f"store.root={tmp_path}/store"])
    record = run(config)
    given = moved_paths(["model.weights=none.safetensors", "model.backbone.weights=none.safetensors", "dataset.path=x"])
    assert config_of(record, given).run_id == record.run_id


def test_a_path_is_read_as_on_any_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    words = ["model.weights='~/a.safetensors'", "forget.file='a b(1).csv'", "forget.sequence=['~/a.csv',[1]]"]
    assert moved_paths(words, "~/images") == {
        "dataset.root": "~/images", "model.weights": "/home/me/a.safetensors", "forget.file": "a b(1).csv",
        "forget.sequence": ["/home/me/a.csv", [1]],
    }  # fmt: skip


@pytest.mark.parametrize("word", ["forget.file=a.csv,b.csv", "model.weights=null", "forget.sequence=a.csv"])
def test_a_word_without_one_path_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    key = word.partition("=")[0]
    with pytest.raises(ConfigError, match=f"{word}: give {key} "):
        moved_paths([word])
    assert reproduce_command(["record.json", word]) == 2
    assert f"{word}: give {key} " in capsys.readouterr().out
    assert reproduce_command(["forget.file=a.csv"]) == 2
    assert "name a record" in capsys.readouterr().out


def test_an_unreadable_file_of_indices_is_a_reason_not_to_repeat(tmp_path: Path) -> None:
    """`verify` takes it for this machine's fault, and any other error for the record's."""
    write(tmp_path / "a.json", 1)
    file = f"forget.file={tmp_path}/a.json"
    record = run(compose([*TINY, *NETWORK, "forget=indices", file, f"outputs={tmp_path}"]))
    (tmp_path / "a.json").unlink()
    with pytest.raises(CannotRepeatError, match=file):
        config_of(record)
