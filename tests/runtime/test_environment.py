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
    environment._fixed.cache_clear()  # an earlier test may have asked before a commit
    found = environment.environment(torch.device("cpu"))
    assert found["commit"] == head.stdout.strip()
    assert found["dirty"] in (True, False)
    assert found["lock_hash"] == hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()[:16]
