"""An absent package is named with the extra that brings it; what every run uses needs no extra."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from unsir_bench.evaluation import evaluate
from unsir_bench.evaluation.evaluate import MetricsConfig
from unsir_bench.report import command
from unsir_bench.runtime import extras
from unsir_bench.runtime.extras import EXTRAS, LAUNCHERS, absent_launcher, absent_package

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Others are called as their module.
NAMES = {"pytorch_grad_cam": "grad-cam", "wandb_workspaces": "wandb-workspaces",
         "pytorch_lightning": "pytorch-lightning", "mlflow": "mlflow-skinny"}  # fmt: skip


def requirements(lines: list[str]) -> set[str]:
    return {Requirement(line).name for line in lines}


def test_each_extra_has_what_is_said_of_it_and_the_base_has_none_of_it() -> None:
    base = requirements(PROJECT["dependencies"])
    optional = {extra: requirements(lines) for extra, lines in PROJECT["optional-dependencies"].items()}
    for extra, modules in EXTRAS.items():
        named = {NAMES.get(module, module) for module in modules}
        assert named <= optional[extra] and not named & base
    for distribution, extra in LAUNCHERS.values():
        assert distribution in optional[extra]


def test_a_report_without_its_extra_ends_with_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.delitem(sys.modules, "unsir_bench.report.html.page", raising=False)
    with pytest.raises(SystemExit) as end:
        command.main(["html", str(ROOT / "tests" / "golden"), "--output", str(tmp_path / "page.html")])
    words = "plotly is not installed; it is of the extra report: pip install 'unsir-bench[report]'"
    assert end.value.code == f"unsir-report: {words}"


def test_another_absent_module_is_no_matter_of_extras() -> None:
    assert absent_package(ModuleNotFoundError("none", name="torch.fft")) is None
    assert absent_package(ModuleNotFoundError("none")) is None


def test_maps_without_their_package_are_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "find_spec", lambda _: None)
    [problem] = MetricsConfig(grad_cam_samples=4).check("metrics")
    assert re.match(r"metrics\.grad_cam_samples=4: .*unsir-bench\[report\]", problem)
    assert not list(MetricsConfig().check("metrics"))


def test_a_launcher_without_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(extras.metadata, "distribution", absent)
    assert absent_launcher("ray_local") == (
        "hydra/launcher=ray_local: hydra-ray-launcher is not installed; pip install 'unsir-bench[ray]'"
    )
    assert "unsir-bench[launchers]" in (absent_launcher("slurm") or "")
    assert absent_launcher("basic") is None and absent_launcher("devices") is None


@pytest.mark.slow
def test_a_run_and_the_table_of_its_sweep_need_the_base_alone(tmp_path: Path) -> None:
    absent = [module for modules in EXTRAS.values() for module in modules if module != "jinja2"]  # torch brings it
    script = (
        "import sys\n"
        "class Absent:\n"
        "    @staticmethod\n"
        "    def find_spec(name, *_):\n"
        f"        if name in {[*absent, 'ray']!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent)\n"
        "sys.modules['hydra_plugins'] = None\n"  # none of the launchers of the extras is there
        "from pathlib import Path\n"
        "from unsir_bench.cli.bootstrap import compose\n"
        "from unsir_bench.report.tables.sweep import write_sweep_table\n"
        "from unsir_bench.runner import run\n"
        "words = ['dataset=digits', 'dataset.subset=15', 'model.width=4', 'train.epochs=1', 'tracker=none',\n"
        "         'metrics=fast', 'hardware=cpu', 'hardware.threads=1']\n"
        "assert run(compose(words)).status == 'done'\n"
        "print(sorted(path.name for path in write_sweep_table(Path('multirun_outputs/runs'))))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "['results.csv', 'table.md'" in done.stdout
