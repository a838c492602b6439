"""Who may import whom: the contracts of pyproject.toml, which `make lint` checks too."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMPORT = re.compile(r"^\s*(from|import)\s.*\bbaselines\b|import_module\(.*\bbaselines\b", re.M)
TOP_LEVEL = re.compile(r"^\s*(from|import) baselines\b", re.M)
BROKEN = {
    "baselines/finetune.py": "import unsir_bench.runner",
    "unsir_bench/data/digits.py": "import wandb",
    "unsir_bench/report/statistics.py": "import unsir_bench.models.allcnn",
    "unsir_bench/models/allcnn.py": "import hydra",
}


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts on the packages below a folder."""
    pytest.importorskip("importlinter", reason="import-linter is of the extra dev")
    command = [
        sys.executable,
        "-c",
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))",
    ]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_every_contract_is_kept() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_broken_contracts_are_found(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("unsir_bench", "baselines"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=lambda _, names: [n for n in names if n == "__pycache__"]
        )
    for name, line in BROKEN.items():
        with (tmp_path / name).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    broken = re.sub(r"\s+", " ", done.stdout)
    for contract in (
        "Each room imports only rooms below it",
        "nor the store, the tracker or the configuration",
        "The report reads records, never a model or its data",
        "Only tracking imports Weights & Biases",
        "Only what composes imports Hydra and OmegaConf",
    ):
        assert f"{contract} BROKEN" in broken


def test_only_the_command_imports_the_baselines() -> None:
    """Installed they are `unsir_bench.baselines`, a name that import-linter cannot see in a checkout."""
    files = [path for path in (ROOT / "unsir_bench").rglob("*.py") if path.relative_to(ROOT).parts[1] != "cli"]
    assert len(files) > 50
    naming = [path.name for path in files if IMPORT.search(path.read_text())]
    assert naming == []


def test_tests_import_the_baselines_that_runs_use() -> None:
    """Imported as `baselines` their classes are registered a second time, and what is patched there patches no run."""
    files = list((ROOT / "tests").rglob("*.py"))
    assert len(files) > 200
    assert [path.name for path in files if TOP_LEVEL.search(path.read_text())] == []
