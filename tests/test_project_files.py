"""The files around the code: each parses, and the targets, files and commands that it names exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_documents import makefile

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [path for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]


def loaded(path: Path) -> dict[str, Any]:
    content = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # `on` stays a word, not true
    assert isinstance(content, dict)
    return content


def shell_of(workflow: dict[str, Any]) -> str:
    return "\n".join(step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"])


def made(shell: str) -> set[str]:
    """The targets that lines of a shell ask `make` for."""
    calls = re.findall(r"(?:^|&& |RUN )make ((?:[\w$={}.-]+ ?)+)", shell, flags=re.M)
    return {word for call in calls for word in call.split() if "=" not in word}


def test_targets_are_found_in_each_way_of_writing_them() -> None:
    assert made("make a PYTHON=python\nx && make b-c TORCH=${TORCH}\nRUN make d\ncmake e") == {"a", "b-c", "d"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_least_rights_a_limit_and_targets_that_exist(path: Path) -> None:
    workflow = loaded(path)
    assert {"name", "on", "jobs"} <= workflow.keys() and workflow["permissions"] == {"contents": "read"}
    assert all(job["runs-on"] and int(job["timeout-minutes"]) <= 120 for job in workflow["jobs"].values())
    needed = {job["needs"] for job in workflow["jobs"].values() if "needs" in job}
    assert needed <= workflow["jobs"].keys()
    shell = shell_of(workflow)
    assert made(shell) <= makefile().keys()
    # What others write (titles, names of branches) reaches a shell only as a variable.
    assert "${{ github.event" not in shell and "${{ github.ref" not in shell
    for name in re.findall(r"pytest (?:-\S+ )*((?:tests/\S+ ?)+)", shell):
        assert all((ROOT / each).exists() for each in name.split())


@pytest.fixture
def would_do(tmp_path: Path) -> Callable[..., str]:
    """The shell that `make` would do in a checkout whose environment was made with a kind of torch, or by hand."""
    if (make := shutil.which("make")) is None:
        pytest.skip("no make on this machine")
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".ready").touch()
    given = {name: value for name, value in os.environ.items() if name not in ("TORCH", "MAKEFLAGS")}

    def shell(*words: str, made: str = "cuda", outdated: bool = False) -> str:
        if made == "cpu":
            (tmp_path / ".venv" / "requirements-cpu.lock").touch()
        if outdated:
            os.utime(tmp_path / ".venv" / ".ready", (0, 0))
        return subprocess.check_output([make, "-n", *words], cwd=tmp_path, env=given, text=True)

    return shell


@pytest.mark.parametrize(("made", "word"), [("cpu", "--index-url"), ("cuda", "rm -f .venv/requirements-cpu.lock")])
def test_another_target_keeps_the_torch_of_the_environment(made: str, word: str, would_do: Callable[..., str]) -> None:
    shell = would_do("demo", made=made, outdated=True)
    assert word in shell and ("--require-hashes --requirement" in shell) == (made == "cuda")


@pytest.mark.parametrize(
    ("words", "made", "again"),
    [
        ([], "cuda", False),
        (["TORCH=cuda"], "cuda", False),
        (["TORCH=cpu"], "cuda", True),
        ([], "cpu", False),
        (["TORCH=cpu"], "cpu", False),
        (["TORCH=cuda"], "cpu", True),
    ],
)
def test_another_choice_of_torch_sets_the_environment_up_again(
    words: list[str], made: str, again: bool, would_do: Callable[..., str]
) -> None:
    assert ("pip install" in would_do("setup", *words, made=made)) is again


def test_a_folder_with_a_space_reaches_the_command_as_one_quoted_value(would_do: Callable[..., str]) -> None:
    lines = would_do("headline", "DATA=/data/my images").splitlines()
    runs = [shlex.split(line) for line in lines if "experiment=headline" in line]
    assert runs and all("dataset.root='/data/my images'" in words for words in runs)


def test_the_release_publishes_only_what_was_built_and_tried() -> None:
    jobs = loaded(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert jobs["publish"]["needs"] == "build" and "permissions" not in jobs["build"]
    experiment = re.search(r"experiment=(\w+)", shell_of({"jobs": {"build": jobs["build"]}}))
    assert experiment and (ROOT / "conf" / "experiment" / f"{experiment[1]}.yaml").is_file()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_has_what_its_host_asks_for(path: Path) -> None:
    form = loaded(path)
    assert form["name"] and form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    names = [field["id"] for field in fields]
    assert fields and len(set(names)) == len(names)
    assert all(field["type"] in {"input", "textarea", "dropdown", "checkboxes"} for field in fields)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") == "true" for field in fields)


def test_the_container_for_development_sets_itself_up_with_a_target_that_exists() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    targets = made(container["postCreateCommand"])
    assert targets == {"setup"} <= makefile().keys()
    minor = re.search(r":3\.(\d+)$", container["image"])
    assert minor and f"PYTHON=python3.{minor[1]}" in container["postCreateCommand"]


def test_the_image_has_both_pairs_of_torch_and_a_command_that_is_installed() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    instructions = dict(re.findall(r"^([A-Z]+) (.+)$", text, flags=re.M))
    assert made(text) == {"setup"} and "ARG TORCH=cpu" in text and "setup TORCH=${TORCH}" in text
    assert all(f"define INSTALL_{torch}" in (ROOT / "Makefile").read_text() for torch in ("cpu", "cuda"))
    assert json.loads(instructions["ENTRYPOINT"]) == ["unsir-bench"] and instructions["USER"] != "root"
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".venv", "data", "multirun_outputs/*"} <= set(ignored) and ".git" not in ignored  # records name the commit


def test_what_pull_requests_are_asked_for_is_there() -> None:
    text = (ROOT / ".github" / "pull_request_template.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`?((?:docs|unsir_bench)/[\w/.]+|CHANGELOG\.md)`?", text))
    assert named and all((ROOT / name).is_file() for name in named)
    assert set(re.findall(r"`make (\w+)`", text)) <= makefile().keys()
