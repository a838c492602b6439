"""What `unsir-bench prepare` fetches, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torchvision

from unsir_bench.cli.bootstrap import compose
from unsir_bench.data import dataset
from unsir_bench.data.dataset import RawData
from unsir_bench.data.torchvision_sets import Cifar10
from unsir_bench.errors import ConfigError, DataError
from unsir_bench.runtime.progress import Progress
from unsir_bench.sweeps.outcome import SweepJob, launching
from unsir_bench.sweeps.prepare import prepare


def job(*words: str, finished: str | None = None) -> SweepJob:
    return SweepJob(words, compose(words), finished)


def prepared(jobs: Sequence[SweepJob]) -> int:
    """How many jobs could not be prepared."""
    with launching() as launch:
        prepare(jobs)
    return len(launch.failed)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The files of weights that were downloaded; a network of the same shape stands in for torchvision's."""
    files: list[str] = []

    def download(_url: str, file: str, *_: object, **__: object) -> None:
        files.append(file)
        torch.save(torchvision.models.resnet18().state_dict(), file)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return files


def test_each_data_set_and_each_network_is_fetched_once_for_all_runs(
    downloads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dataset, "_LAST_LOADED", {})
    small = ("dataset=digits", "dataset.subset=15", "dataset.color=rgb")
    jobs = [job(*small, "model=resnet18_pretrained", f"seed={seed}") for seed in (0, 1)]
    assert prepared([*jobs, job(*small), job("dataset=digits", "dataset.subset=20")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.rpartition(",")[0] for line in told if line.startswith("dataset")] == [
        "dataset digits: 150 + 150 images", "dataset digits: 200 + 200 images",
    ]  # fmt: skip
    # torchvision's published 11,689,512, with 10 classes instead of 1000
    [line] = [line for line in told if line.startswith("model")]
    assert line == f"model resnet18: pretrained weights, {11_689_512 - 990 * 513:,} parameters"
    [file] = downloads
    assert Path(file).is_relative_to(tmp_path) and list(tmp_path.rglob("*.pth"))


def test_the_weights_of_a_frozen_heads_backbone_are_fetched_too(downloads: list[str]) -> None:
    words = ("dataset=digits", "dataset.subset=15", "dataset.color=rgb", "model=frozen_head")
    head = ("model@model.backbone=resnet18_pretrained", "model.trained_on=weights")
    assert prepared([job(*words, *head)]) == 0
    assert len(downloads) == 1


def test_what_cannot_be_had_is_named_with_its_command_and_the_rest_is_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = ("dataset=cifar10", f"dataset.root={tmp_path}", "dataset.download=false")
    wrong = SweepJob(("seed=x",), ConfigError(["seed=x: give a number"]))
    assert prepared([job(*absent), wrong, job("dataset=digits", "dataset.subset=15")]) == 2
    told = capsys.readouterr()
    assert f"cannot be prepared: unsir-bench dataset=cifar10 dataset.root={tmp_path}" in told.err
    assert f"dataset.root={tmp_path}: cifar10 is not there" in told.err and "seed=x: give a number" in told.err
    assert told.out.startswith("dataset digits: 150 + 150 images")


def test_a_data_set_that_cannot_be_had_is_tried_and_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def read(config: Cifar10, _progress: Progress) -> RawData:
        asked.append(config.name)
        raise DataError("there is no network")

    monkeypatch.setattr(Cifar10, "read", read)
    absent = ("dataset=cifar10", f"dataset.root={tmp_path}")
    assert prepared([job(*absent, f"seed={seed}") for seed in range(3)]) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert "there is no network" in line and line.startswith(
        f"cannot be prepared: unsir-bench dataset=cifar10 {absent[1]}"
    )
    assert asked == ["cifar10"]


def test_finished_runs_need_nothing(tmp_path: Path) -> None:
    absent = ("dataset=cifar10", f"dataset.root={tmp_path}", "dataset.download=false")
    assert prepared([job(*absent, finished="done")]) == 0
