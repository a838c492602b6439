"""Every command that the documents show is one that works here.

Commands are lines of fenced blocks, and inline code, that begin with a program of this project. Runs are composed and
not started: of a sweep the first run of its grid. What cannot be checked stands, with the reason, in ``NOT_CHECKED``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from tests.documents import DOCUMENTS, PROGRAMS, ROOT, commands_in, words_of
from unsir_bench.cli.bootstrap import compose
from unsir_bench.cli.evaluate import _parser as evaluate_parser
from unsir_bench.cli.plugins import VARIABLE
from unsir_bench.cli.reproduce import _parser as reproduce_parser
from unsir_bench.cli.split import _parser as split_parser
from unsir_bench.cli.store import _parser as store_parser
from unsir_bench.cli.sync import _parser as sync_parser
from unsir_bench.cli.tune import DEFAULTS
from unsir_bench.cli.tune import _parser as tune_parser
from unsir_bench.cli.verify import _parser as verify_parser
from unsir_bench.config import validate
from unsir_bench.errors import ConfigError
from unsir_bench.report import command as report_command
from unsir_bench.unlearning.method import UnlearningMethod

EXAMPLE = ROOT / "docs" / "examples" / "my_unlearning"


# What this machine need not have, an extra included: a mistake that names one of them is none of the document's.
OF_THE_MACHINE = re.compile(
    r"(dataset\.(root|path)|forget\.file|hardware\.(accelerator|devices))=|.* is not installed; pip install "
)
# Command: why it is not checked.
NOT_CHECKED = dict.fromkeys(
    (
        "unsir-bench -m model=two_layers method=unsir,retrain forget=single seed=0,1,2 sweep=my_model",
        "unsir-bench -m dataset=arrays dataset.root=digits.npz method=unsir forget.classes=[digit_3] sweep=my_data",
    ),
    "names the package of a page: tests/cli/test_add_your_own.py runs it",
) | {
    "unsir-bench method=salun settings=tuned dataset=digits forget=single": "needs the study of the line above it: "
    "tests/sweeps/test_tuning.py makes one",
    "unsir-bench -m experiment=digits_tuned": "needs the studies of the line above it, half an hour of trials",
}
TUNE = "tune"  # its options, and words of a run
PARSERS = {"evaluate": evaluate_parser, "reproduce": reproduce_parser, "store": store_parser, "sync": sync_parser,
           "verify": verify_parser}  # fmt: skip
LISTS = ("methods", "datasets", "models", "metrics", "experiments", "forget")
MOST_NOT_CHECKED = 4


def names(paths: Sequence[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


COMMANDS = [
    command for name in names(DOCUMENTS) for command in commands_in(name, (ROOT / name).read_text(encoding="utf-8"))
]
CHECKED = [command for command in COMMANDS if command.text not in NOT_CHECKED]


@pytest.fixture(scope="module", autouse=True)
def example_package() -> Iterator[None]:
    """Let the commands of docs/add_a_method.md find its method, as they do for the reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        patch.setenv(VARIABLE, "my_unlearning")
        method = import_module("my_unlearning").PullToMean
        assert issubclass(method, UnlearningMethod)
        ConfigStore.instance().store(group="schema/method", name=method.name, node=method)
        yield


@cache
def sweep_params(chosen: tuple[str, ...]) -> list[str]:
    """What the presets among the choices sweep over."""
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        named = [Path(word.replace("experiment=", "experiment/")) for word in chosen if word.startswith("experiment=")]
        # Composing does not complain of one that is not there.
        absent = [path for path in named if path.name not in loader.get_group_options(path.parent.as_posix())]
        assert not absent, f"no {absent}"
        whole = hydra_compose("config", list(chosen), return_hydra_config=True)
        params = whole.hydra.sweeper.params or OmegaConf.create({})
        # Values name the scale, which is resolved as the sweeper resolves it.
        return [f"{key}={value}" for key, value in OmegaConf.to_container(params, resolve=True).items()]


def first_job(words: Sequence[str]) -> list[str]:
    """The overrides of a sweep's first run."""
    presets = tuple(word for word in words if word.split("=")[0] in ("experiment", "scale"))
    params = sweep_params(presets)
    with initialize_config_module("unsir_bench.conf", version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        return list(BasicSweeper.split_arguments(parser.parse_overrides([*params, *words]), None)[0][0])


def check_run(words: Sequence[str]) -> None:
    """`unsir-bench`: a run composes and every setting of it is allowed, but for what only another machine has."""
    if words and words[0] in PARSERS:
        PARSERS[words[0]]().parse_args(words[1:])
        return
    if words[:1] == [TUNE]:
        words = ["-m", *DEFAULTS, *tune_parser().parse_known_args(words[1:])[1]]
    if words[:1] == ["split"]:
        words = split_parser().parse_known_args([*words[1:], "--output", "forget.json"])[1]
    if words[:1] == ["list"]:
        assert words[1:] in [[kind] for kind in LISTS], f"no list {words[1:]}"
        return
    if words == ["--help"]:
        return
    planned = words[:1] in (["plan"], ["prepare"])
    words = words[1:] if words[:1] == ["train"] else words
    overrides = [word for word in words[planned:] if word not in ("-m", "--multirun")]
    sweeps = planned or len(overrides) < len(words)
    config = compose(first_job(overrides) if sweeps else overrides)
    try:
        validate(config)
    except ConfigError as error:
        mistakes = [line for line in error.problems if not OF_THE_MACHINE.match(line)]
        assert not mistakes, mistakes


def check_report(words: Sequence[str]) -> None:
    """`unsir-report`: its arguments parse, and folders of this repository that it names are there."""
    if not words:
        scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
        assert "unsir-report" in scripts
        return
    chosen = report_command._parser().parse_args(words)
    absent = [folder for folder in chosen.folders if folder.parts[0] == "docs" and not (ROOT / folder).is_dir()]
    assert not absent


@cache
def makefile() -> dict[str, str]:
    """The recipe of each target by its name, that of the installation included where the target needs it."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = dict(re.findall(r"^([a-z$(][\w$()-]*):(?!=)((?:.*\n?)(?:\t.*\n?)*)", text, flags=re.M))
    return {
        name: rule + rules["$(READY)"] if " setup" in rule or name == "setup" else rule for name, rule in rules.items()
    }


def check_make(words: Sequence[str]) -> None:
    """`make`: a target of the Makefile, variables that its recipe reads, and what it would run is checked likewise."""
    targets = [word for word in words if "=" not in word]
    unknown = [target for target in targets if target not in makefile()]
    assert not unknown, f"no target {unknown}"
    unread = [word for word in words if "=" in word and not reads(targets or ["help"], word, words)]
    assert not unread, f"{targets} do not read {unread}"
    for line in own_commands(dry_run(tuple(words))):
        check(line)


def reads(targets: Sequence[str], setting: str, words: Sequence[str]) -> bool:
    """Whether a recipe names the variable, or what make would run changes with it."""
    name = setting.partition("=")[0]
    if any(f"$({name})" in makefile()[target] for target in targets):
        return True
    return "sentinel" in dry_run(tuple(f"{name}=sentinel" if word == setting else word for word in words))


@cache
def dry_run(words: tuple[str, ...]) -> str:
    """What make would give to the shell."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make on this machine")
    return subprocess.run([make, "-n", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def own_commands(shell: str) -> list[str]:
    """The commands of this project in lines of a shell, less those with variables of the shell.

    Of many sweeps the first and the last: tests/conf/test_experiments.py composes every experiment at every scale.
    """
    parts = [part.strip(" @\\") for part in re.split(r"\|\||&&|[;\n]", shell)]
    own = [part.removeprefix(".venv/bin/") for part in parts if part.startswith(".venv/bin/") and "$" not in part]
    sweeps = [part for part in own if part.startswith("unsir-bench")]
    return [part for part in own if part not in sweeps[1:-1] and part.startswith(PROGRAMS)]


def check_module(words: Sequence[str]) -> None:
    """`python -m`: the module is there; arguments of the dashboard parse."""
    if words and words[0] != "uv":  # `make lock` installs it first
        assert is_module(words[0]), f"no module {words[0]}"
    if words[:1] == ["unsir_bench.tracking.dashboard"]:
        import_module(words[0])._parser().parse_args(words[1:])


@cache
def is_module(name: str) -> bool:
    """Whether Python finds a module; asked elsewhere: to look for pip, here, would turn setuptools' distutils off."""
    question = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return subprocess.run([sys.executable, "-c", question], check=False, cwd=ROOT).returncode == 0


CHECKS = {"unsir-bench": check_run, "unsir-report": check_report, "make": check_make, "python": check_module}


def check(text: str) -> None:
    program, *words = words_of(text)
    if program == "python":
        words = words[1:]
    CHECKS[program](words)


def mistake(text: str) -> str | None:
    """Why a command does not work; None: it does."""
    try:
        check(text)
    except (HydraException, ConfigError, AssertionError, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return None


def test_every_command_of_a_document_works() -> None:
    reasons = {text: mistake(text) for text in dict.fromkeys(command.text for command in CHECKED)}
    offenders = [f"{command}\n    {reason}" for command in CHECKED if (reason := reasons[command.text])]
    assert not offenders, "\n".join(offenders)


def test_the_list_of_commands_that_are_not_checked_is_short_and_of_commands_that_stand_there() -> None:
    assert set(NOT_CHECKED) <= {command.text for command in COMMANDS}
    assert len(NOT_CHECKED) <= MOST_NOT_CHECKED
    print(f"{len(CHECKED)} commands checked, {len(NOT_CHECKED)} not: {NOT_CHECKED}")


def test_commands_are_found_in_fences_and_in_prose_and_nowhere_else() -> None:
    text = (
        "Run `unsir-bench plan\n-m seed=0` or `make demo`; unsir-bench-like, `unsir-benchmark` and `makes` are none.\n"
        "```\nunsir-bench -m seed=0 \\\n    method=unsir  # two\n.venv/bin/unsir-report html\n```\n`make` it.\n"
    )
    assert [(command.line, command.text) for command in commands_in("x", text)] == [
        (5, "unsir-bench -m seed=0 method=unsir  # two"),
        (6, "unsir-report html"),
        (1, "unsir-bench plan -m seed=0"),
        (2, "make demo"),
        (8, "make"),
    ]
    found = {command.text.split()[0] for command in COMMANDS}
    assert found == {"unsir-bench", "unsir-report", "make", "python"}
    assert {command.document for command in COMMANDS} >= {"README.md", "CONTRIBUTING.md", "docs/sweeps.md"}
    assert len(COMMANDS) > 40


def test_placeholders_are_filled_and_other_words_in_capitals_stay() -> None:
    assert words_of("unsir-report html FOLDER --output FILE  # FOLDER") == [
        "unsir-report", "html", "tests", "--output", "report.html"
    ]  # fmt: skip
    assert words_of("make sweep EXPERIMENT=x OVERRIDES='a=FOLDER/N'") == [
        "make",
        "sweep",
        "EXPERIMENT=x",
        "OVERRIDES=a=tests/2",
    ]


WRONG = [
    "unsir-bench method=nothing",
    "unsir-bench nothing=1",
    "unsir-bench method=finetune method.noise.steps=1",
    "unsir-bench train.lr=0",
    "unsir-bench forget.classes=[11]",
    "unsir-bench -m method=nothing,unsir",
    "unsir-bench -m experiment=digits_demo method.impair.rate=1",
    "unsir-bench -m experiment=nothing",
    "unsir-bench sync --everything",
    "unsir-bench reproduce",
    "unsir-bench store remove",
    "unsir-bench list everything",
    "unsir-report pages",
    "unsir-report html --pages 2",
    "unsir-report html docs/results/nothing",
    "make nothing",
    "make demo EXPERIMENT=digits_demo",
    "make sweep EXPERIMENT=nothing",
    "make sweep OVERRIDES=nothing=1",
    "python -m unsir_bench.nothing",
    "python -m unsir_bench.tracking.dashboard --everything",
]


def test_commands_that_do_not_work_are_found() -> None:
    assert [text for text in WRONG if mistake(text) is None] == []
