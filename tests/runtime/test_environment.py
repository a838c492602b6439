from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
import torch

from unsir_bench.runtime import environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_a_checkout_is_named_by_its_commit_and_lock_file() -> None:
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    found = environment.environment(torch.device("cpu"))
    assert found["commit"] == head.stdout.strip()
    assert found["dirty"] in (True, False)
    assert found["lock_hash"] == hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()[:16]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_the_commit_is_that_of_the_code_whatever_repository_the_surroundings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "CODE", ())  # what changes meanwhile is not looked at
    commit, _ = environment._git_state()
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert commit and environment._git_state()[0] == commit


def test_a_commit_made_after_the_code_was_imported_is_not_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_git_state", lambda: ("a later commit", False))
    environment._fixed.cache_clear()
    found = environment.environment(torch.device("cpu"))
    assert (found["commit"], found["dirty"]) == environment.GIT_STATE != ("a later commit", False)


@pytest.mark.parametrize(
    ("new", "dirty"),
    [("baselines/a.py", True), ("conf/method/a.yaml", True), ("outputs/record.json", False), ("conf/a.pyc", False)],
)
def test_a_tree_with_new_code_is_not_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: str, dirty: bool
) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)

    (tmp_path / ".gitignore").write_text("*.pyc\n")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    monkeypatch.setattr(environment, "PROJECT", tmp_path)
    assert environment._git_state()[1] is False
    (tmp_path / new).parent.mkdir(parents=True)
    (tmp_path / new).write_text("")
    assert environment._git_state()[1] is dirty
