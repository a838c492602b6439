"""The pages on your own metric, model and data set, and README's method: written to a folder and run there."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from tests.cli.page import ROOT, VARIABLE, Page, done, environment, shrunk
from unsir_bench.records import RunRecord, records_below

pytestmark = pytest.mark.slow

PAGES = ("method", "metric", "model", "data_set")
LONGEST = 100


def surroundings(page: Page) -> dict[str, str]:
    """The variables that a page exports, with folders of this repository and the current one made absolute."""
    exported = page.exported
    assert set(exported) == {"PYTHONPATH", VARIABLE}
    return environment(**exported | {"PYTHONPATH": os.pathsep.join([str(ROOT / exported["PYTHONPATH"]), str(ROOT)])})


def in_folder(page: Page, folder: Path) -> dict[str, str]:
    """The same for a page whose package lies in the reader's own folder."""
    assert page.exported["PYTHONPATH"] == "."
    return environment(**page.exported | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])})


def records(folder: Path, sweep: str) -> dict[str, RunRecord]:
    """The records of a sweep by method, all done."""
    found = {record.method: record for _, record in records_below(folder / "multirun_outputs" / sweep)}
    assert {record.method: (record.status, record.error) for record in found.values()} == dict.fromkeys(
        found, ("done", None)
    )
    return found


@pytest.fixture(scope="module")
def metric_sweep(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunRecord]:
    page, folder = Page("docs/add_a_metric.md"), tmp_path_factory.mktemp("metric")
    done(shrunk(page.command("unsir-bench"), model__width="4"), folder, surroundings(page))
    return records(folder, "my_metric")


def test_a_metric_is_measured_for_each_model_as_the_page_says(metric_sweep: dict[str, RunRecord]) -> None:
    record = metric_sweep["logit_mask"]
    fields = {name for name in record.metrics if name.endswith("forget_confidence")}
    named = set(re.findall(r"`(\w*forget_confidence)`", Page("docs/add_a_metric.md").text))
    assert fields == named - {"floor_forget_confidence"}, "metrics=fast trains no second retrained model"
    assert record.metrics["forget_confidence"] == pytest.approx(0, abs=1e-6), "a masked class has no probability left"
    original, retrain = (record.metrics[f"{name}_forget_confidence"] for name in ("original", "retrain"))
    assert 0 <= retrain <= 1 and 0 <= original <= 1 and retrain != original
    assert record.metrics["gap_forget_confidence"] == pytest.approx(record.metrics["forget_confidence"] - retrain)
    others = metric_sweep["unsir"].metrics
    assert (others["original_forget_confidence"], others["retrain_forget_confidence"]) == (original, retrain)


def test_a_model_trains_and_is_what_the_page_builds(tmp_path: Path) -> None:
    page = Page("docs/add_a_model.md")
    page.write(tmp_path)
    done(shrunk(page.command("unsir-bench")), tmp_path, in_folder(page, tmp_path))
    record = records(tmp_path, "my_model")["unsir"]
    assert record.model == "two_layers"
    path = tmp_path / "multirun_outputs" / "store" / "entries" / record.unlearned[-1]["key"] / "weights.safetensors"
    shapes = [tuple(value.shape) for value in load_file(path).values()]
    assert sorted(shapes) == [(10,), (10, 64), (64,), (64, 64)]  # 8x8 pixels, 64 hidden units, 10 classes


def test_a_wrong_setting_of_a_model_is_refused_by_name(tmp_path: Path) -> None:
    page = Page("docs/add_a_model.md")
    page.write(tmp_path)
    wrong = ["unsir-bench", "model=two_layers", "model.hidden=0"]
    printed = done(wrong, tmp_path, in_folder(page, tmp_path), status=1)
    assert "model.hidden=0: must be at least 1" in printed
    assert not list(tmp_path.glob("multirun_outputs/**/record.json"))


def test_a_data_set_is_read_and_its_class_forgotten(tmp_path: Path) -> None:
    page = Page("docs/add_a_data_set.md")
    page.write(tmp_path)
    own = in_folder(page, tmp_path)
    done(page.command("python"), tmp_path, own)
    assert set(np.load(tmp_path / "digits.npz")) >= {"train_images", "test_labels", "class_names"}
    done(shrunk(page.command("unsir-bench"), model__width="4"), tmp_path, own)
    record = records(tmp_path, "my_data")["unsir"]
    assert (record.dataset, record.forget_names, record.forget_classes) == ("arrays", ["digit_3"], [3])
    assert record.access["retain"]["samples"] <= 9 * 15


def test_a_data_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    page = Page("docs/add_a_data_set.md")
    page.write(tmp_path)
    wrong = ["unsir-bench", "dataset=arrays", "dataset.root=nowhere.npz"]
    printed = done(wrong, tmp_path, in_folder(page, tmp_path), status=1)
    assert "dataset.root=nowhere.npz: cannot be read; give a .npz file" in printed


def test_readmes_method_runs_and_reads_what_it_declares(tmp_path: Path) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", Page("README.md").text, flags=re.M | re.S)
    assert len(code.splitlines()) <= 16
    package = tmp_path / "brief"
    (package / "conf" / "method").mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    (package / "conf" / "__init__.py").touch()
    schema = "defaults:\n  - /schema/method/brief_repair@_here_\n  - _self_\n"
    (package / "conf" / "method" / "brief_repair.yaml").write_text(schema)
    own = environment(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]), **{VARIABLE: "brief"})
    words = ["unsir-bench", "-m", "method=brief_repair", "forget=single", "sweep=readme"]
    done(shrunk(words, model__width="4"), tmp_path, own)
    record = records(tmp_path, "readme")["brief_repair"]
    assert record.access["declared"] == ["retain_subset"]
    assert record.access["forget"] == {"samples": 0, "reads": 0}
    assert record.metrics["repair_steps"] == 1  # 9 classes of 15 images fit into one batch


def test_the_notebooks_lines_run(tmp_path: Path) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", Page("docs/records.md").text, flags=re.M | re.S)
    words = re.search(r"compose\((\[.*?\])\)", code)
    assert words
    tiny = json.dumps(shrunk(json.loads(words[1].replace("'", '"')), model__width="4"))
    (tmp_path / "notebook.py").write_text(code.replace(words[1], tiny))
    printed = done(["python", "notebook.py"], tmp_path, environment(PYTHONPATH=str(ROOT)))
    assert "acc_forget_test" in printed


@pytest.mark.parametrize("name", PAGES)
def test_a_page_uses_the_public_interface_alone(name: str) -> None:
    page = Page(f"docs/add_a_{name}.md")
    imports = [line for text in page.files.values() for line in text.splitlines() if "unsir_bench" in line]
    assert imports and all(re.match(r"from unsir_bench import ", line) for line in imports)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_short(name: str) -> None:
    assert len(Page(f"docs/add_a_{name}.md").text.splitlines()) <= LONGEST
