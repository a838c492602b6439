"""The built wheel, installed into an empty environment: nothing is missing, and a run needs no checkout."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
DATA = {".yaml", ".j2", ".typed"}
RUN = [
    "method=unsir", "dataset=digits", "dataset.subset=15", "model.width=4", "train.epochs=1", "tracker=none",
    "metrics=fast", "hardware=cpu", "hardware.threads=1",
]  # fmt: skip


def checked(*command: str | Path, folder: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources() -> set[str]:
    """What a wheel must hold, by its name there: modules and data files that git knows, or would take."""
    listed = checked("git", "ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT).splitlines()
    wanted = {name for name in listed if Path(name).suffix in {".py", *DATA} and (ROOT / name).is_file()}
    moved = {name: f"unsir_bench/{name}" for name in wanted if name.startswith(("conf/", "baselines/"))}
    return {moved.get(name, name) for name in wanted if name.startswith("unsir_bench/") or name in moved}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources: what an earlier build left beside them must not get in."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout: the list of sources comes from git")
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    listed = checked("git", "ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT).splitlines()
    for name in listed:
        if (ROOT / name).is_file() and not name.startswith(("docs/", "tests/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    checked(*pip, "--wheel-dir", folder, copy, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


def borrowing_environment(folder: Path) -> Path:
    """Python of a new environment that finds the packages installed here, but for this project's own installation."""
    checked(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder.parent)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # In a .pth file they only become paths: the .pth files in them, such as that of an editable install, are not read.
    here = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "borrowed.pth").write_text("\n".join(here) + "\n")
    return folder / "bin" / "python"


def test_the_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = sources()
    assert {"unsir_bench/py.typed", "unsir_bench/conf/config.yaml", "unsir_bench/baselines/finetune.py"} <= wanted
    assert any(Path(name).name == "claims.yaml" for name in wanted)
    assert {"absent": wanted - held, "too much": held - wanted} == {"absent": set(), "too much": set()}


def test_the_wheel_is_about_as_large_as_the_page_says(wheel: Path) -> None:
    [stated] = re.findall(r"has about ([\d.]+) MB", (ROOT / "docs" / "install.md").read_text())
    assert wheel.stat().st_size / 1e6 == pytest.approx(float(stated), rel=0.2)


def test_the_installed_wheel_runs_outside_any_checkout(wheel: Path, tmp_path: Path) -> None:
    python = borrowing_environment(tmp_path / "environment")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    pip = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", wheel]
    checked(*pip, folder=tmp_path, environment=environment)
    where = "import unsir_bench, unsir_bench.baselines as b; print(unsir_bench.__file__); print(b.__file__)"
    for file in checked(python, "-c", where, folder=tmp_path, environment=environment).splitlines():
        assert Path(file).is_relative_to(tmp_path / "environment")
    checked(python.parent / "unsir-bench", *RUN, folder=tmp_path, environment=environment)
    (path,) = tmp_path.glob("multirun_outputs/*/*/record.json")
    record = json.loads(path.read_text())
    assert (record["status"], record["environment"]["commit"]) == ("done", None)
    checked(python.parent / "unsir-report", "tables", folder=tmp_path, environment=environment)
    assert "unsir" in (tmp_path / "multirun_outputs" / "report" / "tables.md").read_text()
