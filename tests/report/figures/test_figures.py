"""The figures of a sweep: their numbers against means by hand, what is left out, and that two makes are the same."""

import dataclasses
import itertools
import os
import statistics
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from safetensors.numpy import save_file

from unsir_bench.records import GRAD_CAM_FILE, NOISE_FILE, REMOVAL_FILE, RunRecord
from unsir_bench.report.command import main
from unsir_bench.report.figures import efficiency as figure_efficiency
from unsir_bench.report.figures.ablation import ABLATION
from unsir_bench.report.figures.any_forget_class import ANY_FORGET_CLASS
from unsir_bench.report.figures.data import TIMED_APART, scenes
from unsir_bench.report.figures.draw import KINDS, write_figures
from unsir_bench.report.figures.style import WIDTH, style
from unsir_bench.report.folders import Sweep

STUDENT_T = 12.706204736432095  # two-sided 95 % for two values, from a printed table
HOSTILE = "$x_{1$ %\\frac{^& _"
PLACE = "digits-net-single_0"


def details(scale: float, cap: float = 0.2) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for prefix in ("", "original_", "retrain_"):
        found[f"{prefix}forget_predictions"] = [0.25, 0.75]
        found[f"{prefix}relearn_curve"] = [[0, 0.0], [5, cap * scale]] if prefix != "original_" else [[0, 0.9]]
        if prefix != "original_":
            found[f"{prefix}weight_distance_to_original"] = {"layers": {"a.weight": 2.0 * scale, "a.bias": 0.0}}
    return found


def record(method: str = "unsir", seed: int = 0, status: str = "done", **changes: Any) -> RunRecord:
    done = status == "done"
    metrics = {
        "acc_forget_test": 0.1 * (seed + 1),
        "acc_retain_test": 0.9 - 0.1 * seed,
        "original_acc_forget_test": 0.95,
        "original_acc_retain_test": 0.9,
        "retrain_acc_forget_test": 0.0,
        "retrain_acc_retain_test": 0.92,
        "unlearn_seconds": 2.0 + seed,
        "retrain_seconds": 10.0,
        "relearn_censored": 1,
    }
    fields: dict[str, Any] = {
        "run_id": f"{method}-s{seed}",
        "sweep": "s",
        "method": method,
        "dataset": "digits",
        "model": "net",
        "seed": seed,
        "config": {"metrics": {"name": "standard"}},
        "status": status,
        "forget_set": "single",
        "forget_classes": [0],
        "metrics": metrics if done else {},
        "details": details(1.0 + seed) if done else {},
    }
    return RunRecord(**{**fields, **changes})


def make(folder: Path, records: Sequence[RunRecord]) -> list[str]:
    """Draw into a folder and return the lines that were said."""
    found = [(folder / one.run_id / "record.json", one) for one in records]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return list(write_figures([Sweep(folder / "s", found)], folder / "out"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, in this process alone, for tests that read numbers and words."""
    monkeypatch.setattr("unsir_bench.report.figures.draw.rendered", lambda figure: {"pdf": b"", "png": b""})
    monkeypatch.setattr("unsir_bench.report.figures.draw.cpu_count", lambda: 1)


def keep_files(folder: Path) -> None:
    """Noise images, Grad-CAM maps and the course of a removal beside a record."""
    course = {"samples": np.arange(3), "bound": np.array([1e-9, 0.1, 0.3]), "residual": np.array([1e-9, 0.01, 0.02])}
    save_file(course, folder / REMOVAL_FILE)
    draws = np.random.default_rng(0)
    images = draws.normal(size=(2, 3, 8, 8)).astype(np.float32)
    labels = np.array([0, 0])
    save_file(
        {"learned": images / 2, "initial": images, "classes": labels, "images": np.array([0, 1])}, folder / NOISE_FILE
    )
    maps = {name: draws.random((2, 8, 8)).astype(np.float32) for name in ("original", "retrain", "unlearned")}
    save_file({"images": images, "samples": np.array([4, 9]), "labels": labels, **maps}, folder / GRAD_CAM_FILE)


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "out" / "s" / f"{name}.csv").set_index("method")


@pytest.mark.usefixtures("undrawn")
def test_means_and_intervals_are_those_by_hand(tmp_path: Path) -> None:
    make(tmp_path, [record(seed=0), record(seed=1)])
    trade_off = table(tmp_path, f"trade_off-{PLACE}")
    half = STUDENT_T * statistics.stdev([10.0, 20.0]) / 2**0.5
    row = trade_off.loc["unsir"]
    assert row["n"] == 2 and row["a_df_percent"] == pytest.approx(15.0) and row["a_dr_percent"] == pytest.approx(85.0)
    # No share lies below 0.
    assert 15 - half < 0 == row["a_df_percent_low"] and row["a_df_percent_high"] == pytest.approx(15 + half)
    assert trade_off.loc["original", "a_df_percent"] == pytest.approx(95.0)
    assert trade_off.loc["retrain", "a_dr_percent"] == pytest.approx(92.0)
    seconds = table(tmp_path, f"efficiency-{PLACE}")
    assert list(seconds.index) == ["unsir", "retrain"]
    assert seconds["seconds"].tolist() == [2.5, 10.0]
    assert seconds.loc["unsir", ["seconds_shortest", "seconds_longest"]].tolist() == [2.0, 3.0], "as the line is drawn"


@pytest.mark.usefixtures("undrawn")
def test_details_reach_the_tables_with_each_reference_once_a_seed(tmp_path: Path) -> None:
    make(tmp_path, [record(seed=0), record(seed=1), record("scrub", seed=0)])
    distance = table(tmp_path, f"weight_distance-{PLACE}")
    weight = distance[distance["tensor"] == "a.weight"]
    assert weight["n"].to_dict() == {"retrain": 2, "unsir": 2, "scrub": 1}
    assert weight.loc["unsir", "distance"] == 3.0
    assert (distance[distance["tensor"] == "a.bias"]["distance"] == 0).all()
    shares = table(tmp_path, f"predictions-{PLACE}").loc["unsir"]
    assert shares["class"].tolist() == [1, 2] and shares["share"].tolist() == [0.25, 0.75]
    curves = table(tmp_path, f"relearn_curves-{PLACE}")
    assert curves.loc["unsir", "a_df_percent"].tolist() == pytest.approx([0.0, 30.0])
    assert curves["seeds_censored"].groupby(level=0).max().to_dict() == {
        "original": 0,
        "retrain": 0,
        "scrub": 1,
        "unsir": 2,
    }


@pytest.mark.slow
def test_two_makes_are_the_same_to_the_byte_whatever_the_process_and_the_user_s_style(tmp_path: Path) -> None:
    certified = {"config": {"method": {"epsilon": 1.0}}, "guarantees": {"residual_budget": 0.2}}
    runs = [record(seed=0, **certified), record(seed=1, config=certified["config"])]
    runs += [
        record("salun", run_id=f"a{a}b{b}", config={"method": {"a": a, "b": b}}, details={})
        for a, b in itertools.product((1, 2), (0.1, 0.2))
    ]
    runs += [record("ssd", run_id=f"c{c}", config={"method": {"c": c}}, details={}) for c in (1, 2)]
    steps = [{"classes": [place], "samples": 5, "metrics": runs[0].metrics} for place in (0, 1)]
    runs.append(record("finetune", details={**runs[0].details, "steps": steps}))
    several = {"forget_set": "pair", "forget_classes": [0, 1], "details": {}}
    any_class = {**runs[0].metrics, "forget_answered_any_forget_class": 0.5}
    runs.append(record(run_id="pair", metrics=any_class, **several))
    for one in runs:
        one.write(tmp_path / "s" / one.run_id)
    keep_files(tmp_path / "s" / runs[0].run_id)
    (tmp_path / "matplotlibrc").write_text("font.size: 20\naxes.facecolor: red\n")
    for number, command in itertools.product(("1", "2"), ("figures", "tables")):
        environment = {**os.environ, "PYTHONHASHSEED": number, "SOURCE_DATE_EPOCH": number}
        environment |= {"MATPLOTLIBRC": str(tmp_path)} if number == "2" else {}
        arguments = ["-m", "unsir_bench.report.command", command, "s", "--output", f"out{number}/{command}"]
        code = "import runpy, sys; sys.argv[:] = sys.argv[2:]; runpy.run_module(sys.argv[0], run_name='__main__')"
        done = [sys.executable, "-c", code, *arguments]
        subprocess.run(done, cwd=tmp_path, env=environment, check=True, timeout=300, capture_output=True)
    first, second = (sorted((tmp_path / f"out{number}").rglob("*.*")) for number in (1, 2))
    assert [path.name for path in first] == [path.name for path in second]
    drawn = [path.name.split("-")[0] for path in first if path.suffix == ".png"]
    assert set(drawn) == {kind.name for kind in KINDS}, "every kind of figure takes part"
    assert {path.suffix for path in first} >= {".pdf", ".png", ".csv", ".md", ".tex"}
    assert [one.name for one, other in zip(first, second, strict=True) if one.read_bytes() != other.read_bytes()] == []


@pytest.mark.usefixtures("undrawn")
def test_a_missing_metric_is_named_with_the_preset_that_records_it(tmp_path: Path) -> None:
    said = make(tmp_path, [record(details={})])
    missing = [line for line in said if "no weight_distance" in line]
    assert len(missing) == 1 and "metrics=standard" in missing[0] and "single {0}" in missing[0]
    assert any("no ablation" in line and "experiment=ablation_lambda" in line for line in said)
    kinds = {path.name.split("-")[0] for path in (tmp_path / "out" / "s").iterdir()}
    assert kinds == {"overview", "trade_off", "efficiency"}


@pytest.mark.usefixtures("undrawn")
def test_data_sets_models_and_forget_sets_never_share_a_figure(tmp_path: Path) -> None:
    other: dict[str, Any] = {"run_id": "other", "dataset": "faces"}
    pair: dict[str, Any] = {"run_id": "pair", "forget_set": "pair", "forget_classes": [1]}
    make(tmp_path, [record(**changes, details={}) for changes in ({}, other, pair)])
    found = sorted(path.name for path in (tmp_path / "out" / "s").glob("trade_off*.csv"))
    assert found == [f"trade_off-{place}.csv" for place in ("digits-net-pair_1", PLACE, "faces-net-single_0")]
    assert set(table(tmp_path, "trade_off-faces-net-single_0")["n"]) == {1}


@pytest.mark.usefixtures("undrawn")
def test_the_figure_of_seconds_says_where_they_were_not_taken_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    drawn = figure_efficiency.new_figure

    def watched(height: float, title: str) -> Figure:
        titles.append(title)
        return drawn(height, title)

    monkeypatch.setattr(figure_efficiency, "new_figure", watched)
    runs = [record(details={}, environment={"device": "cpu", "threads": threads}) for threads in (1, 2)]
    make(tmp_path / "alike", runs[:1])
    make(tmp_path / "apart", [runs[0], dataclasses.replace(runs[1], run_id="other", method="finetune")])
    assert [TIMED_APART in title for title in titles] == [False, True]


@pytest.mark.usefixtures("undrawn")
def test_places_whose_file_names_come_out_alike_keep_a_figure_each(tmp_path: Path) -> None:
    make(tmp_path, [record(run_id=name, dataset=name, details={}) for name in ("a/b", "a b")])
    assert {path.name for path in (tmp_path / "out" / "s").glob("trade_off-a*.csv")} == {
        "trade_off-a_b-net-single_0.csv",
        "trade_off-a_b-net-single_0-2.csv",
    }


@pytest.mark.usefixtures("undrawn")
def test_unfinished_runs_are_counted_and_take_no_part(tmp_path: Path) -> None:
    said = make(tmp_path, [record(details={}), record(seed=1, status="failed"), record("ssd", status="skipped")])
    assert said[-1].endswith("from 1 finished run, 1 failed, 1 skipped")
    assert table(tmp_path, f"trade_off-{PLACE}").loc["unsir", "n"] == 1


def test_runs_that_all_failed_give_no_figure_and_are_still_counted(tmp_path: Path) -> None:
    said = make(tmp_path, [record(status="failed")])
    assert "not shown: 1 failed" in said[-2]
    assert len(said) == len(KINDS) + 2 and "0 figures" in said[-1] and "1 failed" in said[-1]
    assert not (tmp_path / "out").exists()


def with_setting(value: object, seed: int = 0, key: str = "lr") -> RunRecord:
    return record(seed=seed, run_id=f"{key}{value}-s{seed}", config={"method": {key: value}}, details={})


@pytest.mark.usefixtures("undrawn")
def test_runs_that_differ_in_one_number_give_a_curve_against_it(tmp_path: Path) -> None:
    make(tmp_path, [with_setting(value, seed) for value in (0.0, 0.01, 10.0) for seed in (0, 1)])
    curve = table(tmp_path, f"ablation-unsir-lr-{PLACE}")
    assert curve["value"].tolist() == [0.0, 0.01, 10.0] and curve["n"].tolist() == [2, 2, 2]
    assert curve["a_dr_percent"].tolist() == pytest.approx([85.0] * 3)


def test_a_curve_has_the_exact_intervals_of_few_images() -> None:
    """0 of 10: up to 1 - 0.025 ** (1 / 10); the bar reaches no lower than 0."""
    runs = [with_setting(value, seed) for value in (1.0, 2.0) for seed in (0, 1)]
    for run in runs:
        run.metrics["acc_forget_test"], run.details = 0.0, {"samples": {"forget_test": 10}}
    with style():
        (drawing,) = ABLATION.draw(scenes("s", runs)[0])
    assert set(drawing.data["a_df_percent_low"]) == {0}
    assert drawing.data["a_df_percent_high"].tolist() == pytest.approx([30.8497] * 2)
    bars = drawing.figure.axes[0].containers[0].lines[2][0].get_segments()
    assert bars[0][:, 1].tolist() == pytest.approx([0.0, 30.8497])


@pytest.mark.parametrize(
    ("values", "scale"), [((0.01, 1.0), "log"), ((0.0, 0.01, 1.0), "symlog"), ((1.0, 2.0, 3.0), "linear")]
)
def test_the_axis_of_a_setting_is_logarithmic_where_it_spans_decades(values: tuple[float, ...], scale: str) -> None:
    with style():
        (drawing,) = ABLATION.draw(scenes("s", [with_setting(value) for value in values])[0])
    assert drawing.figure.axes[0].get_xscale() == scale


def test_the_legend_of_an_ablation_names_retraining_only_where_it_is_drawn() -> None:
    def legend(runs: list[RunRecord]) -> list[str]:
        with style():
            (drawing,) = ABLATION.draw(scenes("s", runs)[0])
        [shown] = drawing.figure.legends
        return [text.get_text() for text in shown.get_texts()]

    runs = [with_setting(value) for value in (1.0, 2.0)]
    assert legend(runs)[-1] == "retrain"
    for run in runs:
        run.metrics = {name: value for name, value in run.metrics.items() if not name.startswith("retrain_")}
    assert "retrain" not in legend(runs)


@pytest.mark.parametrize(
    "records",
    [
        [with_setting(0.1, seed=0), with_setting(0.2, seed=1)],
        [with_setting("adam"), with_setting("sgd")],
        [record(run_id=f"{a}{b}", config={"method": {"a": a, "b": b}}) for a, b in itertools.product((1, 2), (1, 2))],
    ],
    ids=["no shared seed", "no numbers", "two settings"],
)
def test_other_differences_are_no_ablation(records: list[RunRecord]) -> None:
    assert list(ABLATION.draw(scenes("s", records)[0])) == []


def test_names_are_drawn_as_they_are_and_break_nothing(tmp_path: Path) -> None:
    names = [HOSTILE, "_hidden", "../../up", "a\nb\x00c", "", "m" * 300]
    runs = [record(name, run_id=f"r{place}", details={}) for place, name in enumerate(names[1:])]
    runs += [record(HOSTILE, run_id=f"s{value}", config={"method": {"$lr_{": value}}) for value in (1, 2)]
    make(tmp_path, runs)
    drawn = {path.resolve() for path in tmp_path.rglob("*.csv")}
    assert drawn and all(path.parent == (tmp_path / "out" / "s").resolve() for path in drawn)
    frame = pd.read_csv(tmp_path / "out" / "s" / f"trade_off-{PLACE}.csv", keep_default_na=False)
    assert set(names[1:]) < set(frame["method"])


def test_a_figure_names_its_data_and_scale_and_shows_a_hidden_name() -> None:
    scene = scenes("s", [record("_hidden", config={"at_scale": "cpu"}), record("_hidden", 1)])[0]
    for kind in KINDS[: KINDS.index(ABLATION)]:
        if kind is ANY_FORGET_CLASS:  # of several classes alone
            continue
        with style():
            (drawing,) = kind.draw(scene)
        title = drawing.figure.get_suptitle().replace("\n", " ")
        assert title.startswith("digits, net, single {0}, n = 2 seeds, scale cpu")
        drawing.figure.draw_without_rendering()
        words = [text.get_text() for text in drawing.figure.findobj(matplotlib.text.Text)]
        assert "_hidden" in [word.partition("\n")[0] for word in words]
        sizes = [text.get_fontsize() for text in drawing.figure.findobj(matplotlib.text.Text) if text.get_text()]
        assert min(sizes) >= 7


def test_a_picture_is_one_column_wide_and_the_user_s_settings_survive(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    make(tmp_path, [record(details={})])
    assert dict(matplotlib.rcParams) == before
    with Image.open(tmp_path / "out" / "s" / f"efficiency-{PLACE}.png") as picture:
        assert picture.width == round(300 * WIDTH)


def test_without_records_it_says_how_they_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["figures", str(tmp_path), "--output", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "unsir-bench -m experiment=digits_demo" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
