"""The start of the command: what the quick look at the command line says is what the full start says, without torch."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from unsir_bench import (
    cli,  # noqa: F401 - registers the schemas
    schema_cache,
)
from unsir_bench.config import Config
from unsir_bench.field_checks import Range, number

ANSWERED = [
    ["--help"],
    ["--hydra-help"],
    ["--cfg", "job"],
    ["--cfg", "hydra", "--package", "hydra.sweeper"],
    ["--info", "defaults"],
    ["--info", "searchpath"],
    ["--version"],
]
REFUSED = [
    ["-m", "experiment=digits_demo,digits_methods"],
    ["-m", "experiment=cifar10_single", "scale=smoke,cpu"],
    ["--hepl"],
    ["modle=x"],
    ["seed=abc"],
    ["seed=0,1"],
    ["method=unsirr"],
    ["method=[unsir"],
    ["method.nosie.steps=3"],
    ["dataset.mean=[0.1,dark]"],
    ["dataset.subset=1.5"],
    ["train=train"],
    ["+train.epochs=3"],
    ["~nothing"],
    ["hydra/launcher=nothing"],
    ["--cfg", "job", "modle=x"],
    ["-m", "seed=0,1", "modle=x"],
    ["-m", "method=unsir,typo", "seed=0,1"],
    ["-m", "method=unsir,retrain", "model.width=4,wide"],
    ["-m", "experiment=digits_demo", "method=typo"],
    # The full start remembers from here on that runs failed, or that they are planned.
    ["train.batch_size=0", "method.impair.lr=-1", "model.width=0"],
    ["hardware.accelerator=abacus"],
    ["plan", "method=typo"],
]
LEFT_TO_THE_FULL_START = [
    [],
    ["seed=3", "method=retrain"],
    ["-m", "seed=0,1", "method=unsir,retrain"],
    ["plan", "experiment=digits_demo"],
    ["train.batch_size=0", "-m"],
    ["-m", "method=unsir,retrain", "method.rounds=1"],  # each word is right, but retrain has no rounds
    ["seed=-1"],
    ["--cfg", "job", "--resolve", "--package", "hydra.run"],
    ["--help", "modle=x"],
    ["--info", "plugins"],
    ["--config-name", "other"],
]
MANY = """
import contextlib, io, json, sys
from {module} import {function}
told = []
for words in json.load(sys.stdin):
    sys.argv, status = ["unsir-bench", *words], None
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            {function}({given})
            status = {returned}
        except SystemExit as end:
            status = end.code
    told.append([status, out.getvalue(), err.getvalue()])
heavy = [name for name in ("torch", "numpy", "sklearn", "wandb", "pandas") if name in sys.modules]
print(json.dumps([heavy, told]))
"""
QUICK = MANY.format(module="unsir_bench.quick_check", function="quick_check", given="words", returned="None")
FULL = MANY.format(module="unsir_bench.cli", function="main", given="", returned="0")


def environment(cache: Path, **changes: str) -> dict[str, str]:
    """Of a process whose user keeps caches in a folder of the test."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("HYDRA_FULL_ERROR", "UNSIR_BENCH_PLUGINS")
    }
    return {**kept, "HOME": str(cache), "XDG_CACHE_HOME": str(cache), **changes}


def told(script: str, cases: list[list[str]], cache: Path, **changes: str) -> tuple[list[str], list[list[Any]]]:
    """Heavy modules that were imported, and for each command line its exit status and what it printed where."""
    given = {"input": json.dumps(cases), "capture_output": True, "text": True, "timeout": 300, "cwd": cache}
    done = subprocess.run([sys.executable, "-c", script], check=False, env=environment(cache, **changes), **given)
    assert done.returncode == 0, done.stderr
    heavy, answers = json.loads(done.stdout)
    return heavy, [[status, *(re.sub(r"^\[[-0-9 :,]+\]", "", text) for text in texts)] for status, *texts in answers]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder, in which the full start has left its schemas."""
    return tmp_path_factory.mktemp("user")


@pytest.fixture(scope="module")
def full(cache: Path) -> list[list[Any]]:
    """What the full start says of each command line that the quick look answers or refuses."""
    return told(FULL, [*ANSWERED, *REFUSED], cache)[1]


@pytest.fixture(scope="module")
def quick(cache: Path, full: list[list[Any]]) -> tuple[list[str], list[list[Any]]]:
    """What the quick look says of every command line."""
    return told(QUICK, [*ANSWERED, *REFUSED, *LEFT_TO_THE_FULL_START], cache)


@pytest.mark.slow  # the first of them, which makes what all compare
@pytest.mark.parametrize(
    "place", range(len(ANSWERED) + len(REFUSED)), ids=lambda at: " ".join([*ANSWERED, *REFUSED][at])
)
def test_the_quick_look_says_what_the_full_start_says(
    place: int, full: list[list[Any]], quick: tuple[list[str], list[list[Any]]]
) -> None:
    status, out, err = quick[1][place]
    assert [status, out, err] == full[place]
    assert status == 0 if place < len(ANSWERED) else status in (1, 2)
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    "place", range(len(LEFT_TO_THE_FULL_START)), ids=lambda at: " ".join(LEFT_TO_THE_FULL_START[at])
)
def test_the_quick_look_says_nothing_where_it_is_not_the_judge(
    place: int, quick: tuple[list[str], list[list[Any]]]
) -> None:
    assert quick[1][len(ANSWERED) + len(REFUSED) + place] == [None, "", ""]


def test_the_quick_look_imports_nothing_heavy(quick: tuple[list[str], list[list[Any]]]) -> None:
    assert quick[0] == []


def test_several_wrong_values_are_named_at_once_and_leave_no_record(
    cache: Path, quick: tuple[list[str], list[list[Any]]]
) -> None:
    _, out, _ = quick[1][[*ANSWERED, *REFUSED].index(["train.batch_size=0", "method.impair.lr=-1", "model.width=0"])]
    assert "3 settings are wrong; nothing was started" in out
    for line in ("train.batch_size=0: must be at least 1", "method.impair.lr=-1.0: must be above 0", "model.width=0"):
        assert line in out
    assert not list(cache.rglob("record.json"))


def test_plug_ins_and_a_wish_for_tracebacks_lead_to_the_full_start(cache: Path, full: list[list[Any]]) -> None:
    for change in ({"UNSIR_BENCH_PLUGINS": "a_package"}, {"HYDRA_FULL_ERROR": "1"}):
        assert told(QUICK, [["modle=x"], ["--help"]], cache, **change)[1] == [[None, "", ""], [None, "", ""]]


def test_the_command_refuses_before_torch_is_there(cache: Path, full: list[list[Any]], tmp_path: Path) -> None:
    broken = tmp_path / "torch"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise SystemExit('torch was imported')\n", encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    for words, status in ((["seed=abc"], 1), (["--help"], 0)):
        done = subprocess.run(
            [sys.executable, "-m", "unsir_bench", *words],
            capture_output=True, text=True, check=False, timeout=120, env=environment(cache, PYTHONPATH=paths),
        )  # fmt: skip
        assert (done.returncode, "torch was imported" in done.stderr) == (status, False), done.stderr


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The schemas, kept in a folder of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    schema_cache.remember()
    assert schema_cache.cache_file().is_relative_to(tmp_path)
    yield schema_cache.cache_file()
    schema_cache.source_key.cache_clear()


def test_rebuilt_schemas_hold_what_the_real_ones_hold(own_cache: Path) -> None:
    schemas = schema_cache.recall()
    assert schemas is not None
    real = {(schema.group, schema.name): schema.cls for schema in schema_cache.registered()}
    assert {(schema.group, schema.name) for schema in schemas} == set(real)
    assert ("schema/method", "unsir") in real and ("hydra/sweeper", "resuming") in real
    rebuilt = {(schema.group, schema.name): schema.cls for schema in schemas}
    for place, cls in rebuilt.items():
        assert OmegaConf.to_yaml(OmegaConf.structured(cls)) == OmegaConf.to_yaml(OmegaConf.structured(real[place]))
        assert [base.__name__ for base in cls.__mro__ if dataclasses.is_dataclass(base)] == [
            base.__name__ for base in real[place].__mro__ if dataclasses.is_dataclass(base)
        ]
        for made, field in zip(dataclasses.fields(cls), dataclasses.fields(real[place]), strict=True):
            assert (made.name, made.metadata.get("check")) == (field.name, field.metadata.get("check"))


def test_another_content_of_a_source_file_makes_the_schemas_worthless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    package = tmp_path / "changing_package"
    package.mkdir()
    module = package / "__init__.py"
    module.write_text("rounds: int = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(schema_cache, "PACKAGES", ("changing_package",))
    schema_cache.source_key.cache_clear()
    assert schema_cache.recall() is None, "the schemas of other sources were taken"
    schema_cache.remember()
    assert schema_cache.recall() is not None
    stamp = module.stat()
    module.write_text("rounds: int = 2\n", encoding="utf-8")
    os.utime(module, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    schema_cache.source_key.cache_clear()
    assert schema_cache.recall() is None


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "a list", "no classes", "strange type"])
def test_a_broken_file_is_ignored_and_replaced(own_cache: Path, damage: str) -> None:
    whole = own_cache.read_bytes()
    key = json.loads(whole)["key"]
    strange = {"bases": [], "fields": [{"name": "a", "type": "os.system", "check": None}]}
    own_cache.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "empty": b"",
            "foreign": bytes(range(256)),
            "a list": b"[1, 2]",
            "no classes": json.dumps({"key": key, "nodes": []}).encode(),
            "strange type": json.dumps({"key": key, "nodes": [], "classes": {"m:C": strange}}).encode(),
        }[damage]
    )
    assert schema_cache.recall() is None
    schema_cache.remember()
    assert schema_cache.recall() is not None
    assert own_cache.read_bytes() == whole
    assert not list(own_cache.parent.glob("*.partial"))


def test_a_place_that_cannot_be_written_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    schema_cache.remember()
    assert schema_cache.recall() is None
    assert told(QUICK, [["modle=x"]], tmp_path, XDG_CACHE_HOME=str(tmp_path / "file"))[1] == [[None, "", ""]]


def test_a_schema_that_is_not_plain_leaves_no_file(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass
    class Odd:
        place: Path = Path()

    shutil.rmtree(own_cache.parent)
    monkeypatch.setattr(schema_cache, "registered", lambda: [schema_cache.Schema("schema/method", "odd", Odd)])
    with pytest.raises(schema_cache.NotPlainError, match="Path"):
        schema_cache.described(schema_cache.registered())
    schema_cache.remember()
    assert not own_cache.exists()


def test_a_dataclass_behind_a_plain_class_stays_an_ancestor() -> None:
    @dataclasses.dataclass
    class Base:
        size: int = number(3, above=0)

    class Between(Base):
        pass

    @dataclasses.dataclass
    class Leaf(Between):
        names: list[str] = dataclasses.field(default_factory=lambda: ["a"])
        inner: Base = dataclasses.field(default_factory=lambda: Base(size=5))
        by_name: dict[str, float] | None = None

    content = json.loads(json.dumps(schema_cache.described([schema_cache.Schema("schema/x", "leaf", Leaf)])))
    [schema] = schema_cache.rebuilt(content)
    assert [check.metadata.get("check") for check in dataclasses.fields(schema.cls)][:1] == [Range(above=0)]
    node = OmegaConf.structured(schema.cls)
    assert OmegaConf.to_container(node) == {"size": 3, "names": ["a"], "inner": {"size": 5}, "by_name": None}
    assert [base.__name__ for base in schema.cls.__mro__[:-1]] == ["Leaf", "Between", "Base"]
    assert schema.cls().names is not schema.cls().names


def test_hydra_copies_its_store_no_more() -> None:
    store = ConfigStore.instance()
    before = store.load("schema_config.yaml").node
    before.seed = 17
    assert store.load("schema_config.yaml").node.seed == Config().seed
    assert type(store.repo).__deepcopy__(store.repo, {}) is store.repo


def test_sync_needs_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['unsir-bench', 'sync', 'nowhere']\n"
        "from unsir_bench.__main__ import main\n"
        "try: main()\n"
        "finally: print([name for name in ('torch', 'hydra', 'sklearn') if name in sys.modules])"
    )
    given = {"capture_output": True, "text": True, "timeout": 120, "cwd": tmp_path}
    done = subprocess.run([sys.executable, "-c", code], check=False, **given)
    assert done.returncode == 2 and "nowhere" in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
