"""What composing adds to Hydra's: presets of the authors' values, and words of sweeps and limits that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from unsir_bench.cli.bootstrap import compose
from unsir_bench.cli.split import split_command
from unsir_bench.cli.train import train_command
from unsir_bench.cli.tune import tune_command
from unsir_bench.config import validate
from unsir_bench.errors import ConfigError
from unsir_bench.runtime.hardware import HardwareConfig


def test_published_settings_choose_the_preset_of_the_authors_values() -> None:
    config = compose(["method=ssd", "settings=published"])
    assert (config.method.name, config.method.settings) == ("ssd_published", "published")


@pytest.mark.parametrize("word", ["-m", "--multirun"])
def test_verbs_of_one_run_refuse_a_sweep_by_name(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_command(["seed=0,1", word]) == 1
    assert split_command([word, "forget=random_samples", "--output", str(tmp_path / "f.json")]) == 1
    assert capsys.readouterr().err.count(f"{word}: one run is composed here, and no sweep; leave it out") == 2


def test_a_group_that_an_experiment_sweeps_is_named_without_advice_to_sweep_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["experiment=cifar10_single", "scale=smoke"]
    assert train_command(words) == 1
    assert split_command([*words, "--output", str(tmp_path / "f.json")]) == 1
    said = capsys.readouterr().err
    assert said.count("no option is chosen; give ") == 2 and "add -m" not in said


@pytest.mark.parametrize("limit", ["time_limit=5", "silence_limit=2"])
def test_limits_are_refused_where_no_process_has_them(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    word = f"hardware.{limit}"
    validate(compose([word]))
    with pytest.raises(ConfigError, match=f"{word}: needs isolate=true"):
        validate(compose([word, "isolate=false"]))
    assert train_command([word]) == 1
    assert tune_command([word, "method=ssd", "--trials", "1"]) == 1
    said = capsys.readouterr().err
    assert f"{word}: `unsir-bench train` has no limit" in said and f"{word}: `unsir-bench tune` has no limit" in said


def test_the_usual_limits_are_none_that_were_set() -> None:
    assert HardwareConfig().limits == HardwareConfig(silence_limit=None).limits == []
