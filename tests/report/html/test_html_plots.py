"""The plots of the page: means, intervals and curves, against numbers worked out by hand."""

from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from tests.report.html.hostile_sweep import SCRIPT, record, swept
from tests.report.html.page_reader import Reader, named, read, traces
from unsir_bench.report.html.page import write_page


def test_the_large_point_is_the_mean_with_the_interval_of_two_seeds(reader: Reader) -> None:
    (point,) = named(reader, "trade-off", "unsir")
    # Student's t of one degree of freedom at 97.5 % is 12.7062; s/√2 of 90 and 86 is 2.
    assert point["x"] == pytest.approx([15.0]) and point["y"] == pytest.approx([88.0])
    assert point["error_y"]["arrayminus"] == pytest.approx([12.7062 * 2], abs=1e-3)
    assert point["error_y"]["array"] == pytest.approx([12.0]), "no share is above 100 %"
    assert "unsir-s0" in point["customdata"][0][0] and "unsir-s1" in point["customdata"][0][0]


def test_equal_accuracies_of_few_images_have_the_exact_interval(tmp_path: Path) -> None:
    """0 of 10: up to 1 - 0.025 ** (1 / 10)."""
    known = {"details": {"samples": {"forget_test": 10}}, "metrics": {"acc_forget_test": 0.0, "acc_retain_test": 0.9}}
    runs = [record(seed=seed, **known) for seed in (0, 1)]
    found = read(write_page([swept(tmp_path / "s", runs)], tmp_path / "report.html"))
    (point,) = named(found, "trade-off", "unsir")
    assert point["error_x"]["array"] == pytest.approx([30.8497], abs=1e-3)
    assert point["error_x"]["arrayminus"] == pytest.approx([0.0])
    assert "0.00 [0.00, 30.85] % (n = 2)" in point["customdata"][0][0]


def test_a_single_run_has_a_point_without_an_interval_that_leads_to_it(reader: Reader) -> None:
    (point,) = named(reader, "trade-off", "unsir", forget=f"{SCRIPT} {{1}}")
    assert point["error_y"]["visible"] is False
    assert unquote(point["customdata"][0][1]) == "../my sweep #1 <b>/unsir-pair-s0/record.json"


def test_a_small_marker_of_several_runs_says_so_and_leads_to_all_of_them(tmp_path: Path) -> None:
    """Seed 0 was unlearned twice, with 0.9 and 0.8 kept."""
    again = record(run_id="again", config={**record().config, "unlearn_seed": 1})
    again.metrics["acc_retain_test"] = 0.8
    found = read(write_page([swept(tmp_path / "s", [record(), again, record(seed=1)])], tmp_path / "report.html"))
    mean = named(found, "trade-off", "unsir")[0]["customdata"][0]
    assert [name in mean[0] for name in ("unsir-s0", "again", "unsir-s1")] == [True] * 3 and mean[1] == ""
    [small] = [
        one for one in traces(found, "trade-off") if one["legendgroup"] == "unsir" and one["marker"]["size"] == 6
    ]
    assert small["y"] == pytest.approx([85.0, 86.0])
    assert small["customdata"] == [
        ["unsir, seed 0, mean of 2 runs", "", "unsir", "–"],
        ["unsir-s1, seed 1", "s/unsir-s1/record.json", "unsir", "–"],
    ]


def test_data_sets_and_models_are_never_averaged_together(tmp_path: Path) -> None:
    other = record(seed=0, run_id="other", dataset="cifar10", metrics={"acc_forget_test": 0.9, "acc_retain_test": 0.1})
    sweep = swept(tmp_path / "s", [record(seed=0), record(seed=1), other])
    found = read(write_page([sweep], tmp_path / "report.html"))
    shown = [trace for trace in traces(found, "trade-off") if trace.get("name") == "unsir"]
    by_data = {trace["meta"]["rows"]["dataset"]: trace["y"] for trace in shown}
    assert set(by_data) == {"digits", "cifar10"}
    assert by_data["digits"] == pytest.approx([88.0]) and by_data["cifar10"] == pytest.approx([10.0])
    assert "2 data sets stand here side by side" in found.text
    assert "Seconds were not all taken alike" not in found.text


def test_seconds_of_two_machines_are_said_to_be(tmp_path: Path) -> None:
    runs = [record(seed=seed, environment={"device": name}) for seed, name in enumerate(["A", SCRIPT])]
    found = read(write_page([swept(tmp_path / "s", runs)], tmp_path / "report.html"))
    assert f"Seconds were not all taken alike (device {SCRIPT}; device A)" in found.text


def test_speed_up_bars_run_from_one_to_the_mean_on_a_logarithmic_axis(reader: Reader) -> None:
    (bars,) = [
        t for t in traces(reader, "speed-up") if t["type"] == "bar" and t["meta"]["rows"]["forget"] == "single {0}"
    ]
    ends = dict(zip(bars["y"], np.add(bars["base"], bars["x"]), strict=True))
    # Geometric means: of 9 and 11 the root of 99, of 100 and 120 that of 12,000.
    assert ends == pytest.approx({"retrain": 1.0, "unsir": 99**0.5, "&lt;img src=x onerror=alert(1)&gt;": 12_000**0.5})
    assert reader.plots["s0-speed-up"]["layout"]["xaxis"]["type"] == "log"
    (means,) = [t for t in traces(reader, "speed-up") if t.get("error_x") and len(t["y"]) == 3]
    lowest = [x - minus for x, minus in zip(means["x"], means["error_x"]["arrayminus"], strict=True)]
    assert min(lowest) > 0


def test_layers_stand_in_the_networks_order_and_frozen_ones_have_no_point(reader: Reader) -> None:
    for name in ("unsir", "retrain", "retrain (second)"):
        (curve,) = named(reader, "layers", name)
        assert curve["x"] == ["head.weight", "body.weight"]
        assert curve["y"] == pytest.approx([np.mean([2, 4]), np.mean([4, 8])])
    assert reader.plots["s0-layers"]["layout"]["yaxis"]["type"] == "log"


def test_relearning_shows_the_mean_and_below_it_a_curve_per_seed(reader: Reader) -> None:
    assert len(named(reader, "relearning", "retrain")) == 1 + 2
    mean, *seeds = named(reader, "relearning", "unsir")
    assert mean["y"] == [0.0, 75.0, 90.0] and mean.get("showlegend", True) and mean["meta"]["link"] == ""
    assert [curve["y"] for curve in seeds] == [[0.0, 50.0, 90.0], [0.0, 100.0, 90.0]]
    assert unquote(seeds[0]["meta"]["link"]).endswith("/unsir-s0/record.json")
    assert "method" not in named(reader, "relearning", "retrain")[0]["meta"]["show"]
    (plateau,) = named(reader, "relearning", "retrain's plateau")
    assert plateau["x"] == [0, 10] and plateau["y"] == [90.0, 90.0]
    # Half of Student's t of two seeds is 12.7 · 25 points: the band reaches both ends.
    (band,) = [one for one in traces(reader, "relearning") if one.get("fill") and one["legendgroup"] == "unsir"]
    assert band["x"] == [0, 5, 10, 10, 5, 0] and band["y"][1] == 100 and band["y"][4] == 0


def test_predictions_are_shown_by_the_index_of_the_retained_class(reader: Reader) -> None:
    first, second = traces(reader, "predictions")
    assert first["x"] == ["1", "2"] and second["x"] == ["0", "2"]
    assert first["y"][:4] == ["original", "retrain", "retrain (second)", "unsir"]
    assert np.array(first["z"]) == pytest.approx(np.tile([0.25, 0.75], (5, 1)))


def test_a_plot_without_values_says_which_preset_records_them(tmp_path: Path) -> None:
    sweep = swept(tmp_path / "s", [record(details={})])
    found = read(write_page([sweep], tmp_path / "report.html"))
    assert set(found.plots) == {"s0-trade-off", "s0-speed-up"}
    assert found.text.count("metrics=standard (the default) and metrics=full record it") == 3
