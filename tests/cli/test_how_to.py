"""The pages of docs/how_to: each at most a page, its commands given as they stand, with tiny data and networks.

What only another machine has is done by a stand-in: submitit's local executor for Slurm, cores for GPUs.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import Answer, answers
from tests.cli.page import ROOT, environment
from tests.documents import fenced
from unsir_bench.records import records_below

PAGES = sorted((ROOT / "docs" / "how_to").glob("*.md"))
LINES = 50
COMMITTED = ROOT / "tests" / "golden" / "digits_run"
PROGRAMS = ("unsir-bench", "unsir-report")
# Words that replace those of the same key, on every command that runs something.
TINY = {
    "seed": "0",
    "dataset.subset": "15",
    "model.width": "4",
    "train.epochs": "1",
    "metrics": "fast",
    "hardware": "cpu",
}
OUTPUTS = {"outputs": "shared/outputs", "store.root": "shared/store"}
DIGITS = {"dataset": "digits", "dataset.image_size": None, "dataset.normalisation": None}
CHANGES: Mapping[str, Mapping[str, str | None]] = {
    "compare_a_method": {"method": "pull_to_mean,retrain,finetune,salun"},
    "score_checkpoints": {"seed": None},
    "add_an_attack": {"metrics": "fast", "metrics.features": "false", **dict.fromkeys(set(TINY) - {"metrics"})},
    "forget_a_person": {"dataset.image_size": "16", "dataset.subset": None, "model": "allcnn_slim"},
    "own_images": {"dataset.image_size": "16", "dataset.subset": None},
    "slurm": {**OUTPUTS, "hydra/launcher": "local", "hydra.launcher.partition": None, "model": "allcnn_slim",
              "hydra.launcher.array_parallelism": None, "dataset.subset": "15", "forget": "single",
              "hydra.launcher.gpus_per_node": None, "method": "unsir", "dataset": "digits", "train": "small",
              "experiment": None, "scale": None},
    "four_gpus": {"method": "unsir,retrain"},
    "wandb_team": {"method": "unsir", "tracker": "wandb_offline"},
    "pretrained_vit": {**DIGITS, "model": "vit_tiny", "model.width": None, "method": "unsir_gentle"},
    "papers_table": {"scale": "smoke", "method": "unsir,retrain", "model": "allcnn_tiny", "dataset.subset": None,
                     "train.epochs": None, "model.width": None},
}  # fmt: skip
# What this machine cannot do, with the status that it ends with.
FAILS = {("wandb_team", "sync"): 2}
NOT_RUN = {("own_images", "dataset=hf"): "tests/data/test_hugging_face.py does"}


def commands(page: str) -> list[list[str]]:
    """The words of the page's commands of this project."""
    text = (ROOT / "docs" / "how_to" / f"{page}.md").read_text(encoding="utf-8")
    lines = [shlex.split(line, comments=True) for _, line in fenced(text)]
    return [words for words in lines if words and words[0] in PROGRAMS]


def tiny(page: str, words: Sequence[str], folder: Path) -> tuple[str, ...]:
    """The same command on tiny data; ``unsir-bench`` itself is left out."""
    # The committed run: a checkout that is being worked on makes records that are refused.
    run = COMMITTED if "verify" in words else folder
    filled = [str(run) if word == "FOLDER" else word for word in words]
    filled = [word.replace("cifar10_single_cpu", "cifar10_single_smoke") for word in filled]
    if words[0] == "unsir-report" or {"verify", "reproduce", "sync"} & set(words):
        return tuple(filled if words[0] == "unsir-report" else filled[1:])
    settings = {**TINY, **CHANGES[page]}
    kept = [word for word in filled[1:] if word.split("=")[0] not in settings]
    added = [f"{key}={value}" for key, value in settings.items() if value is not None]
    return (*kept, *added)


def make_images(folder: Path) -> None:
    """Three people of eight faces each, as grey squares that differ."""
    draw = np.random.default_rng(0)
    for place, name in enumerate(("anna", "bert", "cleo")):
        for number in range(8):
            pixels = np.clip(draw.normal(60 * (place + 1), 20, (16, 16, 3)), 0, 255).astype(np.uint8)
            path = folder / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def own_weights(folder: Path) -> Path:
    """Copy the three models of a run to files, as somebody else would send them; returns the run's folder."""
    path, record = next(
        found for found in records_below(folder / "multirun_outputs" / "mine") if found[1].method == "finetune"
    )
    keys = {"original": record.fingerprints["original"], "retrained": record.fingerprints["retrain"],
            "unlearned": record.unlearned[-1]["key"]}  # fmt: skip
    for role, key in keys.items():
        entry = folder / "multirun_outputs" / "store" / "entries" / str(key) / "weights.safetensors"
        shutil.copy(entry, folder / f"{role}.safetensors")
    return path.parent


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Answer]]]:
    """What each page's commands led to, in a folder that all share; the first page's sweep is what others read."""
    folder = tmp_path_factory.mktemp("reader")
    make_images(folder / "faces")
    make_images(folder / "images")
    exported = {"PYTHONPATH": os.pathsep.join([str(ROOT / "docs/examples/my_unlearning"), str(ROOT)]),
                "UNSIR_BENCH_PLUGINS": "my_unlearning", "WANDB_API_KEY": ""}  # fmt: skip
    around = environment(**exported)
    first = "compare_a_method"
    answered = given(first, folder, folder, around)
    run = own_weights(folder)
    for page in (path.stem for path in PAGES if path.stem not in (first, "README")):
        answered |= given(page, folder, run, around)
    return folder, answered


def given(page: str, folder: Path, run: Path, around: Mapping[str, str]) -> dict[str, list[Answer]]:
    wanted = [words for words in commands(page) if not any((page, word) in NOT_RUN for word in words)]
    cases = [tiny(page, words, run) for words in wanted]
    found = answers(cases, folder, around)
    return {page: [found[case] for case in cases]}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_is_short_and_stands_in_the_list(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES
    listed = (path.parent / "README.md").read_text(encoding="utf-8")
    assert path.stem == "README" or f"({path.name})" in listed


@pytest.mark.slow
@pytest.mark.parametrize("page", [path.stem for path in PAGES if path.stem != "README"])
def test_the_commands_of_a_page_do_what_it_says(page: str, told: tuple[Path, dict[str, list[Answer]]]) -> None:
    wanted = [words for words in commands(page) if not any((page, word) in NOT_RUN for word in words)]
    assert wanted and len(wanted) == len(told[1][page])
    for words, answer in zip(wanted, told[1][page], strict=True):
        expected = next((status for (of, word), status in FAILS.items() if of == page and word in words), 0)
        assert answer.status == expected, f"{' '.join(words)}\n{answer.printed[-2500:]}"


@pytest.mark.slow
def test_the_pages_leave_what_they_promise(told: tuple[Path, dict[str, list[Answer]]]) -> None:
    folder, outputs = told[0], told[0] / "multirun_outputs"
    sweeps = {name: [record for _, record in records_below(outputs / name)] for name in (
        "mine", "anna", "images", "four_gpus", "team", "vit", "cifar10_single_smoke")}  # fmt: skip
    assert {name: len(records) for name, records in sweeps.items() if not records} == {}
    assert {record.status for records in sweeps.values() for record in records} == {"done"}
    assert any("mia_loss_auc" in record.metrics for record in sweeps["mine"]), "the attack was added"
    assert [record.method for record in sweeps["mine"] if record.checkpoints] == ["theirs"]
    assert all(record.forget_names == ["anna"] for record in sweeps["anna"])
    assert any(r"\toprule" in path.read_text(encoding="utf-8") for path in (folder / "tables").rglob("*.tex"))
    assert (folder / "report" / "claims.md").is_file() and (outputs / "report" / "report.html").is_file()
    assert list((folder / "shared" / "outputs").rglob("record.json")), "what the Slurm page leaves"
