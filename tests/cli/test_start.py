"""The start of the command: what it imports, the help, the lists, and mistakes, all named before any training."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

import unsir_bench
from tests.cli.commands import Answer, answers
from unsir_bench.cli import bootstrap as start
from unsir_bench.cli.help import GROUPS, help_page
from unsir_bench.cli.list import list_command
from unsir_bench.cli.main import _status
from unsir_bench.cli.plugins import option_files
from unsir_bench.config import Config
from unsir_bench.data.dataset import DatasetConfig
from unsir_bench.data.digits import Digits

ROOT = Path(__file__).resolve().parents[2]
SLOW = ("torch", "torchvision", "timm", "lightning_fabric", "sklearn", "scipy", "pandas", "wandb", "matplotlib",
        "plotly", "joblib", "rich", "pytorch_grad_cam")  # fmt: skip
LONG = "x" * 300
REFUSED = {
    ("-m", "experiment=digits_demo,digits_methods"): "Give one command for each experiment",
    ("modle=x",): "Could not override 'modle'",
    ("seed=abc",): "abc",
    ("seed=0,1",): "--multirun",
    ("method=unsirr",): "unsirr",
    ("method.nosie.steps=3",): "nosie",
    ("hydra/launcher=nothing",): "nothing",
    ("-m", "seed=0,1", "modle=x"): "modle",
    ("-m", "method=unsir,typo", "seed=0,1"): "typo",
    ("train.batch_size=0", "method.impair.lr=-1", "model.width=0"): "3 settings are wrong; nothing was started",
    ("dataset=digits", "forget.classes=[11]"): "11 is no class",
    ("plan", "method=typo"): "typo",
    ("prepare", "method=typo"): "typo",
    ("sweep=../../x",): "sweep=../../x: must be a folder name",
    ("-m", "sweep=../../x"): "sweep=../../x: must be a folder name",
    ("-m", "sweep=x,y"): "sweep=x, sweep=y: a command reports on one folder. Give one command for each sweep",
    ("-m", "hydra/launcher=devices", "outputs=x,y"): "Give one command for each outputs",
    ("-m", f"sweep={LONG}"): "has 300 letters; 128 is the most",
    ("+foo=1",): "foo: there is no such key",
    ("-m", "+method.noise.foo=1"): "method.noise.foo: there is no such key",
    ("outputs=/proc/x",): "outputs=/proc/x: nothing can be written there (No such file or directory)",
    ("-m", "outputs=/proc/x"): "outputs=/proc/x: nothing can be written there (No such file or directory)",
    ("-m", "store.root=/proc/x"): "store.root=/proc/x: nothing can be written there (No such file or directory)",
    (f"outputs={LONG}",): "nothing can be written there (File name too long)",
    ("-m", f"outputs={'/'.join(['y' * 200] * 20)}"): "nothing can be written there (File name too long)",
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Answer]:
    """What the command says of each mistake; all in one process, which takes seconds to start."""
    return answers(list(REFUSED), tmp_path_factory.mktemp("refused"))


@pytest.mark.slow
@pytest.mark.parametrize("words", REFUSED, ids=lambda words: " ".join(words)[:60])
def test_a_mistake_is_named_without_a_traceback_and_leaves_no_record(
    words: tuple[str, ...], refusals: dict[tuple[str, ...], Answer]
) -> None:
    answer = refusals[words]
    assert answer.status in (1, 2)
    assert REFUSED[words] in answer.printed
    assert "Traceback" not in answer.printed
    assert answer.records == 0


@pytest.mark.slow
def test_several_wrong_values_are_named_at_once(refusals: dict[tuple[str, ...], Answer]) -> None:
    printed = refusals["train.batch_size=0", "method.impair.lr=-1", "model.width=0"].printed
    for line in ("train.batch_size=0: must be at least 1", "method.impair.lr=-1.0: must be above 0", "model.width=0"):
        assert line in printed


def imported(code: str) -> set[str]:
    """Slow libraries that are there after a process has run some code."""
    ask = f"{code}\nimport sys, json; print('\\n' + json.dumps([name for name in {SLOW!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import unsir_bench; unsir_bench.__all__; from unsir_bench import number, NotApplicable", set()),
        ("from unsir_bench.cli.help import help_page; help_page()", set()),
        ("import unsir_bench.cli.sync, unsir_bench.cli.plugins, unsir_bench.sweeps.isolation", set()),
        (
            "from unsir_bench.cli import run; run.bootstrap()\n"
            "import unsir_bench.data.batches, unsir_bench.models.model, unsir_bench.runner",
            {"torch"},
        ),
    ],
)
def test_slow_libraries_are_imported_where_they_are_used(code: str, expected: set[str]) -> None:
    assert imported(code) == expected


def test_nothing_happens_when_a_module_is_imported() -> None:
    code = (
        "import sys; sys.argv = ['unsir-bench', '-m', 'seed=0,1']\n"
        "import unsir_bench.cli.run, unsir_bench.cli.main, unsir_bench.__main__\n"
        "from hydra.core.config_store import ConfigStore\n"
        "from multiprocessing import forkserver\n"
        "assert 'schema' not in ConfigStore.instance().repo\n"
        "assert forkserver._forkserver._forkserver_pid is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_every_public_name_is_there_and_an_unknown_one_is_refused() -> None:
    for name in unsir_bench.__all__:
        assert getattr(unsir_bench, name) is not None
    assert unsir_bench.__all__ == sorted(unsir_bench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'everything'"):
        unsir_bench.everything  # noqa: B018


def test_a_configuration_for_a_notebook_is_what_the_command_composes() -> None:
    config = unsir_bench.compose(["method=ssd", "seed=3"])
    assert (config.method.name, config.dataset.name, config.seed) == ("ssd", "digits", 3)


def test_a_subclass_of_a_test_is_not_registered_under_the_name_it_inherits() -> None:
    class Other(Digits):
        pass

    registered = list(start.installed(DatasetConfig))
    assert Digits in registered and Other not in registered
    assert DatasetConfig not in registered


def test_hydra_copies_its_store_no_more_but_each_entry_that_it_loads() -> None:
    store = ConfigStore.instance()
    assert copy.deepcopy(store.repo) is store.repo
    store.load("schema_config.yaml").node.seed = 17
    assert store.load("schema_config.yaml").node.seed == Config().seed


def test_the_help_fits_on_a_page_and_names_verbs_groups_and_options() -> None:
    page = help_page()
    assert len(page.splitlines()) <= 66  # of a printed page
    assert all(len(line) <= 120 for line in page.splitlines())
    for word in ("plan", "list", "sync", "--hydra-help", "--cfg job", *GROUPS, *option_files("method")):
        assert re.search(rf"(?<![\w-]){word}\b", page), word
    assert "schema" not in page
    examples = [line.split() for line in page.splitlines() if line.startswith("  unsir-bench ")]
    assert len(examples) == 3


def test_the_help_is_the_commands_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status(["seed=1", "--help"]) == 0
    assert capsys.readouterr().out.rstrip("\n") == help_page()


@pytest.mark.parametrize("what", ["datasets", "models", "metrics", "experiments"])
def test_a_list_has_a_row_with_words_for_each_option(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert list_command([what]) == 0
    printed = capsys.readouterr().out
    for option in {"datasets": ["digits", "cifar100"], "models": ["vit"], "metrics": ["full"]}.get(what, ["cifar100"]):
        assert re.search(rf"│ {option} +│ \w", printed), option


@pytest.mark.parametrize("words", [["--help"], ["methods", "-h"]])
def test_the_help_of_a_list_names_the_tables(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert list_command(words) == 0
    assert capsys.readouterr().out.startswith("usage: unsir-bench list methods|datasets|models|")


def test_the_list_of_methods_says_what_each_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_command(["methods"]) == 0
    printed = capsys.readouterr().out
    rows = {cells[1].strip(): cells for line in printed.splitlines() if len(cells := line.split("│")) == 6}
    assert rows.keys() >= set(option_files("method"))
    assert rows["original"][2].strip() == "nothing"
    assert "train_history" in rows["amnesiac_subtract"][2] and "train_history" not in rows["amnesiac"][2]
    assert "Fisher forgetting" in rows["fisher"][4]
    assert [rows[name][3].strip() for name in ("retrain", "fisher_published", "gkt")] == ["none", "published", "user"]
    assert rows["fisher"][3].strip() == "tuned"


@pytest.mark.parametrize("words", [[], ["sets"], ["methods", "models"]])
def test_a_list_that_there_is_not_is_refused_with_those_there_are(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert list_command(words) == 2
    [line] = capsys.readouterr().out.splitlines()
    assert "methods, datasets, models, metrics, experiments" in line


def test_options_of_a_plugin_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "listed_plugin" / "conf" / "method"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder.parents[1]):
        (package / "__init__.py").touch()
    (folder / "mine.yaml").write_text("# @package _global_\n# My own.\n# In two lines.\nname: mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("UNSIR_BENCH_PLUGINS", "listed_plugin")
    assert list(option_files("method"))[-1] == "mine"
    assert "mine" in help_page()


def test_a_broken_torch_is_explained(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch.so: cannot open')\n")
    done = subprocess.run(
        [sys.executable, "-m", "unsir_bench", "seed=1"], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "do not work together (libtorch.so: cannot open)" in done.stderr and "Traceback" not in done.stderr
