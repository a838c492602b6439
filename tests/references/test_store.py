from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unsir_bench.references.store import Store, content_key, weights_hash

KEY = "0123456789abcdef"
FILES = {"weights": {"w": torch.arange(3.0)}, "logits": {"train": torch.ones(2, 2), "test": torch.zeros(1, 2)}}

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
import torch
from unsir_bench.references import store

complete, written = store.serialised, []
def serialised(tensors):
    if written:
        os.kill(os.getpid(), signal.SIGKILL)
    written.append(tensors)
    return complete(tensors)
store.serialised = serialised
own = store.Store(Path(sys.argv[1]))
with own.lock(sys.argv[2], "the original model"):
    own.write(sys.argv[2], {"weights": {"w": torch.zeros(3)}, "logits": {"test": torch.zeros(1)}}, {})
"""

DISK_FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from unsir_bench.references.store import Store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
own = Store(Path(sys.argv[1]))
try:
    own.write(sys.argv[2], {"weights": {"w": torch.zeros(10_000)}}, {})
except OSError as error:
    print(error.strerror)
print(own.abandoned(), own.find(sys.argv[2]))
"""

WAITING_FOR_THE_LOCK = """
import logging, sys
from pathlib import Path
from unsir_bench.references.store import Store

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
with Store(Path(sys.argv[1])).lock(sys.argv[2], "the original model"):
    print("entered", flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def run_python(script: str, store: Store) -> list[str]:
    return [sys.executable, "-c", script, str(store.root), KEY]


def test_an_entry_gives_back_its_tensors_and_manifest(store: Store) -> None:
    assert store.find(KEY) is None
    store.write(KEY, FILES, {"seconds": 1.5, "steps": 7})
    entry = store.find(KEY)
    assert entry is not None
    assert entry.manifest == {"seconds": 1.5, "steps": 7}
    assert entry.tensors("logits").keys() == {"train", "test"}
    assert torch.equal(entry.tensors("weights")["w"], torch.tensor([0.0, 1.0, 2.0]))


class TestAWriterKilledMidway:
    @pytest.fixture(scope="class")
    def killed(self, tmp_path_factory: pytest.TempPathFactory) -> Store:
        """A store whose first writer was killed with one of two files written and the lock held."""
        store = Store(tmp_path_factory.mktemp("store"))
        finished = subprocess.run(run_python(KILLED_WHILE_WRITING, store), check=False)
        assert finished.returncode == -signal.SIGKILL
        assert list(store.root.rglob("weights.safetensors")), "the writer was killed too early to test anything"
        return store

    def test_leaves_nothing_to_find(self, killed: Store) -> None:
        assert killed.find(KEY) is None

    def test_leaves_its_lock_free_and_the_entry_to_be_written(
        self, killed: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, logger="unsir_bench")
        with killed.lock(KEY, "the original model"):
            entry = killed.write(KEY, FILES, {})
        assert caplog.messages == []
        assert torch.equal(entry.tensors("weights")["w"], FILES["weights"]["w"])


@pytest.mark.parametrize("failing", ["tensors", "manifest"])
def test_a_failed_write_leaves_no_trace(store: Store, failing: str) -> None:
    shared = torch.zeros(2)
    # safetensors refuses tensors that share memory; JSON refuses a key that is no plain value.
    files = {"weights": {"a": shared, "b": shared}} if failing == "tensors" else FILES
    manifest: dict[Any, Any] = {("a", "tuple"): 1} if failing == "manifest" else {}
    with pytest.raises((RuntimeError, TypeError)):
        store.write(KEY, files, manifest)
    assert store.find(KEY) is None
    assert list((store.root / "entries").iterdir()) == []


def test_an_entry_has_the_permissions_of_what_its_user_makes(store: Store) -> None:
    # Others of a group read a store that they share.
    before = os.umask(0o027)
    try:
        folder = store.write("key", {}, {}).folder
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o750


def test_a_folder_without_a_manifest_is_no_entry_and_no_hindrance(store: Store) -> None:
    partial = store.root / "entries" / KEY
    partial.mkdir(parents=True)
    (partial / "weights.safetensors").write_bytes(b"half a file")
    assert store.find(KEY) is None
    entry = store.write(KEY, FILES, {})
    assert torch.equal(entry.tensors("weights")["w"], FILES["weights"]["w"])


def test_a_finished_entry_is_never_replaced(store: Store) -> None:
    store.write(KEY, FILES, {"made": "first"})
    with pytest.raises(FileExistsError, match=KEY):
        store.write(KEY, FILES, {"made": "second"})
    entry = store.find(KEY)
    assert entry is not None and entry.manifest == {"made": "first"}


@pytest.fixture
def waiting(store: Store) -> Iterator[subprocess.Popen[str]]:
    """A second process that wants the lock which this one holds."""
    with store.lock(KEY, "the original model"):
        process = subprocess.Popen(run_python(WAITING_FOR_THE_LOCK, store), stdout=subprocess.PIPE, text=True)
        yield process
    assert process.stdout is not None
    assert process.stdout.read() == "entered\n"
    assert process.wait(timeout=20) == 0


def test_a_second_process_waits_for_the_lock_and_says_so(waiting: subprocess.Popen[str]) -> None:
    assert waiting.stdout is not None
    line = waiting.stdout.readline()
    assert f"waiting for process {os.getpid()} on {socket.gethostname()}, which is making the original model" in line
    assert KEY in line
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=0.3)


def test_locks_of_other_entries_do_not_wait(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="unsir_bench")
    with store.lock("first", "one model"), store.lock("second", "another model"):
        assert caplog.messages == []


def test_a_checkpoint_is_read_back_and_discarded(store: Store) -> None:
    checkpoint = store.checkpoint(KEY)
    assert checkpoint.load() is None
    checkpoint.save({"model": {"w": torch.ones(2)}, "progress": {"epoch": 3, "seconds": 0.5}})
    state = store.checkpoint(KEY).load()
    assert state is not None
    assert state["progress"] == {"epoch": 3, "seconds": 0.5}
    assert torch.equal(state["model"]["w"], torch.ones(2))
    checkpoint.discard()
    checkpoint.discard()
    assert checkpoint.load() is None


def test_a_checkpoint_whose_saving_fails_midway_keeps_the_state_before(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = store.checkpoint(KEY)
    checkpoint.save({"epoch": 1})

    def disk_full(_handle: int) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", disk_full)
        with pytest.raises(OSError, match="no space"):
            checkpoint.save({"epoch": 2})
    assert checkpoint.load() == {"epoch": 1}
    assert [path.name for path in (store.root / "in_progress").iterdir()] == [f"{KEY}.pt"]


def test_what_a_killed_process_wrote_of_a_checkpoint_goes_when_the_entry_is_made(store: Store) -> None:
    store.checkpoint("another").save({"epoch": 1})
    halves = [store.root / "in_progress" / f".{key}.pt-a1b2c3d4" for key in (KEY, "fedcba9876543210")]
    for half in halves:
        half.write_bytes(b"half a checkpoint")
    assert store.abandoned() == halves
    store.write(KEY, FILES, {})
    assert store.abandoned() == halves[1:]
    assert store.checkpoint("another").load() == {"epoch": 1}


class RunsCode:
    """Unpickled by a careless reader, it makes a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_a_checkpoint_that_would_run_code_is_set_aside(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "code has run"
    store.checkpoint(KEY).save({"model": RunsCode(target)})
    assert store.checkpoint(KEY).load() is None
    assert not target.exists()
    assert f"{KEY}.pt is damaged" in caplog.text
    assert not list((store.root / "in_progress").iterdir()) and len(list((store.root / "damaged").iterdir())) == 1


def test_a_key_does_not_depend_on_the_order_of_names() -> None:
    assert content_key({"a": 1, "b": {"c": 2, "d": [3]}}) == content_key({"b": {"d": [3], "c": 2}, "a": 1})


@pytest.mark.parametrize("other", [{"a": 2}, {"b": 1}, {"a": [1]}, {"a": "1"}, {"a": 1, "b": None}, {"a": True}])
def test_a_key_depends_on_every_value(other: dict[str, Any]) -> None:
    assert content_key({"a": 1}) != content_key(other)


def test_a_key_is_the_same_in_every_release() -> None:
    # sha256 of '{"a": 1}': changing it would lose every stored model.
    assert content_key({"a": 1}) == "f9d86028c6e0d64e"


@pytest.mark.parametrize(
    ("state", "same"),
    [
        ({"b": torch.ones(2), "a": torch.zeros(2)}, True),
        ({"a": torch.zeros(2), "b": torch.tensor([1.0, 1.0000001])}, False),
        ({"a": torch.zeros(2), "b": torch.ones(2, dtype=torch.float64)}, False),
        ({"a": torch.zeros(2), "c": torch.ones(2)}, False),
        ({"a": torch.zeros(2), "b": torch.ones(1, 2)}, False),
    ],
    ids=["order", "last-bit", "dtype", "name", "shape"],
)
def test_weights_have_one_hash_for_the_same_bits(state: dict[str, Tensor], same: bool) -> None:
    assert (weights_hash(state) == weights_hash({"a": torch.zeros(2), "b": torch.ones(2)})) is same


def test_other_users_may_read_tensors_as_far_as_the_umask_lets_them(store: Store) -> None:
    before = os.umask(0o027)
    try:
        entry = store.write(KEY, FILES, {})
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in entry.folder.iterdir()} == dict.fromkeys(
        ("weights.safetensors", "logits.safetensors", "manifest.json", "manifest.sha256"), 0o640
    )


def test_a_full_disk_is_told_as_the_disks_error(store: Store) -> None:
    said = subprocess.run(run_python(DISK_FULL, store), capture_output=True, text=True, check=True, timeout=120).stdout
    assert said.split("\n")[:2] == ["File too large", "[] None"]
