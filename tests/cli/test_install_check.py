from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from unsir_bench.cli import install_check
from unsir_bench.cli.install_check import TESTED_PAIR, BrokenInstallError, check_torch_pair

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


@pytest.fixture
def mismatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's operators are missing, as beside a torch of another release."""

    def nms(*_arguments: Any) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    ops = ModuleType("torchvision.ops")
    ops.nms = nms  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision.ops", ops)
    versions = {"torch": "9.8.7", "torchvision": "0.6.5"}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)


def test_the_pair_of_this_installation_works() -> None:
    check_torch_pair()


@pytest.mark.usefixtures("mismatched")
def test_a_mismatch_names_both_versions_the_cause_and_the_command() -> None:
    with pytest.raises(BrokenInstallError) as caught:
        check_torch_pair()
    message = str(caught.value)
    assert "torch 9.8.7 and torchvision 0.6.5" in message
    assert "operator torchvision::nms does not exist" in message
    assert f"pip install --force-reinstall {TESTED_PAIR}" in message


def test_an_absent_torchvision_is_called_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "torchvision":
            raise metadata.PackageNotFoundError(package)
        return "9.8.7"

    monkeypatch.setitem(sys.modules, "torchvision.ops", None)
    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(BrokenInstallError, match=r"torch 9\.8\.7 and torchvision absent"):
        check_torch_pair()


@pytest.mark.usefixtures("mismatched")
def test_the_command_exits_with_the_explanation() -> None:
    with pytest.raises(SystemExit) as caught:
        install_check.main()
    # A text as exit code is printed to stderr and becomes status 1.
    assert "torch 9.8.7 and torchvision 0.6.5 do not work together" in str(caught.value.code)


def test_the_command_reports_a_working_pair(capsys: pytest.CaptureFixture[str]) -> None:
    install_check.main()
    assert f"torch {metadata.version('torch')} and torchvision" in capsys.readouterr().out


def test_the_pair_in_the_advice_is_the_locked_one() -> None:
    assert set(TESTED_PAIR.split()) <= set(locked())


def locked() -> dict[str, list[str]]:
    """The hashes of each pinned requirement, by its line."""
    entries = LOCK.read_text().replace("\\\n", "").splitlines()
    return {words[0].strip(): words[1:] for words in (entry.split("--hash=") for entry in entries)}


def test_every_pin_has_the_hashes_of_its_files() -> None:
    pins = locked()
    assert len(pins) > 100
    for pin, hashes in pins.items():
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", each.strip()) for each in hashes), pin


def test_the_lock_is_complete() -> None:
    """pip installs nothing from a lock with hashes that leaves out what one of its packages needs."""
    applied = [pin for pin in map(Requirement, locked()) if pin.marker is None or pin.marker.evaluate()]
    names = {canonicalize_name(pin.name) for pin in applied}
    missing = set()
    for pin in applied:
        for line in metadata.requires(pin.name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                missing |= {f"{pin.name}: {needed.name}"} if canonicalize_name(needed.name) not in names else set()
    assert not missing
