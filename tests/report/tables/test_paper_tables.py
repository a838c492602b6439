"""Comparison tables for a paper, against numbers worked out by hand."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.speedups import fast_retrain_seconds
from unsir_bench.report.tables.comparison import ComparisonTable, comparison_tables
from unsir_bench.report.tables.paper import (
    as_latex,
    as_markdown,
    cells,
    latex_text,
)
from unsir_bench.report.tables.standard_columns import chosen_columns

HOSTILE = "[5cm] a&b_c%d$e#f^g~h{i}j\\input{/etc/passwd}|k*<b>\n\n\\end{tabular}`l'\"m--n"


def record(
    method: str = "unsir",
    seed: int = 0,
    metrics: Mapping[str, float | None] | None = None,
    config: Mapping[str, Any] | None = None,
    **fields: Any,
) -> RunRecord:
    known: dict[str, Any] = {
        "dataset": "cifar10", "model": "resnet18", "status": "done", "forget_classes": [0], "forget_steps": [[0]],
        "run_id": f"{method}-{seed}", **fields,
    }  # fmt: skip
    return RunRecord(
        **known, sweep="s", method=method, seed=seed, forget_set="single",
        config={"at_scale": "paper", "method": {"name": method}, "metrics": {"relearn": {"cap": 50}}, **(config or {})},
        metrics={
            "acc_retain_test": 0.7, "acc_forget_test": 0.1, "unlearn_seconds": 2.0, "relearn_batches": 10,
            "relearn_censored": 0, "original_acc_retain_test": 0.8, "original_acc_forget_test": 0.9,
            "retrain_acc_retain_test": 0.75, "retrain_acc_forget_test": 0.0, "retrain_seconds": 20.0,
            "retrain_relearn_batches": 30, "retrain_relearn_censored": 0, **(metrics or {}),
        },
    )  # fmt: skip


def only(records: list[RunRecord], fast: Mapping[str, float] | None = None) -> ComparisonTable:
    [table] = comparison_tables("s", records, fast)
    return table


def column(table: ComparisonTable, title: str) -> dict[str, str]:
    return {line["method"].words: line[title].words for line in cells(table)}


def bold(table: ComparisonTable, title: str) -> list[str]:
    return [line["method"].words for line in cells(table) if line[title].bold]


def test_means_intervals_and_references_stand_in_one_table() -> None:
    table = only([record(seed=0), record(seed=1, metrics={"acc_retain_test": 0.72})])
    # t(0.975, 1) = 12.706 times the standard error of 70 and 72, which is 1; the exact intervals of 80 and 75 of 100
    assert column(table, "A_Dr %") == {
        "original": "80.00 [70.82, 87.33]", "retrain": "75.00 [65.34, 83.12]", "unsir": "71.00 ± 12.71",
    }  # fmt: skip
    assert column(table, "n") == {"original": "2", "retrain": "2", "unsir": "2"}
    assert column(table, "seconds") == {"original": "–", "retrain": "20.00 ± 0.00", "unsir": "2.00 ± 0.00"}
    assert column(table, "× retrain")["unsir"] == "10.00 ± 0.00"


def test_no_end_of_an_interval_lies_within_the_exact_one() -> None:
    """Two thirds of a right answer in 10: the beta quantile of (10 / 15 + 1, 10 - 10 / 15) at 97.5 % is 0.40335."""
    runs = [
        record(seed=seed, metrics={"acc_forget_test": share}, details={"samples": {"forget_test": 10}})
        for seed, share in enumerate((0.0, 0.0, 0.2))
    ]
    # Student's t alone is 6.67 ± 28.68, which is wider in all.
    assert column(only(runs), "A_Df %")["unsir"] == "6.67 [0.00, 40.33]"


def test_a_censored_relearn_time_is_shown_and_never_averaged() -> None:
    capped = {"relearn_batches": None, "relearn_censored": 1}
    table = only([record(seed=0), record(seed=1, metrics=capped), record("b", metrics=capped)])
    assert column(table, "relearn batches") == {
        "original": "–", "retrain": "30.00 ± 0.00", "unsir": "10, >50 (1 of 2)", "b": ">50",
    }  # fmt: skip
    assert next(row for row in table.rows if row.method == "unsir").mean("relearn_batches") is None


def test_what_follows_from_a_censored_relearn_time_has_no_mean_either() -> None:
    capped = {"relearn_batches": None, "relearn_censored": 1, "relearn_epochs": None, "anamnesis_index": None}
    known = record(seed=0, metrics={"relearn_epochs": 2.0, "anamnesis_index": 0.5})
    names = ["relearn_epochs", "anamnesis_index"]
    [table] = comparison_tables("s", [known, record(seed=1, metrics=capped), record(seed=2, metrics=capped)],
                                columns=chosen_columns(names))  # fmt: skip
    shown = next(line for line in cells(table) if line["method"].words == "unsir")
    assert (shown["relearn epochs"].words, shown["AIN"].words) == ("2.00, censored (2 of 3)", "0.50, censored (2 of 3)")
    [row] = [row for row in table.rows if row.method == "unsir"]
    assert [row.mean(name) for name in names] == [None, None]
    # A seed whose relearning was not measured is no seed that did not relearn.
    fast = record(seed=1, metrics={"relearn_batches": None, "relearn_censored": None})
    [table] = comparison_tables("s", [known, fast], columns=chosen_columns(names))
    shown = next(line for line in cells(table) if line["method"].words == "unsir")
    assert (shown["relearn epochs"].words, shown["AIN"].words) == ("2.00 (n = 1)", "0.50 (n = 1)")


def test_a_relearn_time_beside_censored_ones_is_the_median_over_unlearning_seeds() -> None:
    drawn = [
        record(run_id=f"unsir-{draw}", config={"unlearn_seed": draw}, metrics={"relearn_batches": batches})
        for draw, batches in ((0, 10), (1, 10), (2, 15))
    ]
    table = only([*drawn, record(seed=1, metrics={"relearn_batches": None, "relearn_censored": 1})])
    assert column(table, "relearn batches")["unsir"] == "10, >50 (1 of 2)"


def test_the_best_is_nearest_to_retrain_or_fastest_and_controls_do_not_compete() -> None:
    table = only([
        record("near", metrics={"acc_retain_test": 0.76, "unlearn_seconds": 5.0}),
        record("high", metrics={"acc_retain_test": 0.9, "unlearn_seconds": 4.0}),
        record("logit_mask", metrics={"acc_retain_test": 0.75, "unlearn_seconds": 0.001}),
    ])  # fmt: skip
    assert bold(table, "A_Dr %") == ["near"]
    assert bold(table, "seconds") == bold(table, "× retrain") == ["high"]
    assert bold(table, "A_Df %") == ["high", "near"]  # equal
    assert bold(only([record("near")]), "A_Dr %") == []  # nothing to be better than
    lone = {"retrain_acc_retain_test": None}
    assert bold(only([record("near", metrics=lone), record("high", metrics=lone)]), "A_Dr %") == []


def test_where_retrain_does_not_relearn_the_best_do_not_either() -> None:
    never = {"retrain_relearn_batches": None, "retrain_relearn_censored": 1}
    capped = {**never, "relearn_batches": None, "relearn_censored": 1}
    assert bold(only([record("a", metrics=never), record("b", metrics=capped)]), "relearn batches") == ["b"]


def test_fisher_is_paired_within_seed_and_forget_set() -> None:
    fisher = record("fisher", metrics={"unlearn_seconds": 100.0})
    other = record("fisher", 1, {"unlearn_seconds": 900.0})
    assert column(only([record(), fisher, other]), "× Fisher")["unsir"] == "50.00"
    assert "× Fisher" not in cells(only([record(), record("fisher", status="failed")]))[0]
    here, there = ({"device": "cpu", "threads": threads} for threads in (1, 2))
    mixed = [record(environment=here), record("fisher", metrics={"unlearn_seconds": 100.0}, environment=there)]
    assert column(only(mixed), "× Fisher")["unsir"] == "–"
    drawn = record("fisher", metrics={"unlearn_seconds": 4.0}, config={"method": {"labels": "mc"}}, run_id="drawn")
    assert column(only([record(), fisher, drawn]), "× Fisher")["unsir"] == "50.00"


def test_seconds_of_several_machines_are_said_to_be_so_and_none_is_the_best() -> None:
    here, there = ({"device": "cpu", "cpu": f"C_{name}", "threads": 1} for name in ("a", "b"))
    runs = [record(environment=here), record("finetune", metrics={"unlearn_seconds": 1.0}, environment=here)]
    assert bold(only(runs), "seconds") == ["finetune"] and only(runs).remarks == []
    apart = only([*runs, record("amnesiac", metrics={"unlearn_seconds": 0.5}, environment=there)])
    assert bold(apart, "seconds") == []
    [remark] = apart.remarks
    assert "device cpu, cpu C_a, threads 1; device cpu, cpu C_b, threads 1" in remark
    assert bold(apart, "× retrain") == ["amnesiac"], "each ratio is of one machine"


def test_means_over_several_kinds_of_cpu_are_said_to_be_so_and_of_which_methods() -> None:
    def run(method: str, seed: int, capability: str) -> RunRecord:
        return record(method, seed, environment={"device": "cpu", "cpu": "x", "cpu_capability": capability})

    alike = [run("ssd", seed, "AVX512") for seed in (0, 1)]
    table = only([run("unsir", 0, "AVX2"), run("unsir", 1, "AVX512"), *alike])
    assert "Averaged over runs of 2 kinds of CPU: original, retrain, unsir." in table.remarks
    assert "kinds of CPU" in as_markdown(table) and "kinds of CPU" in as_latex(table)
    assert only(alike).remarks == []


def test_a_second_speed_up_is_against_retraining_by_the_fast_recipe_of_the_same_task_in_any_sweep() -> None:
    slow, fast = ({"train": {"name": name, "epochs": epochs}} for name, epochs in (("published", 40), ("fast", 8)))
    runs = [record(config=slow), record(seed=1, config=slow)]
    rivals = [
        record("retrain", config=fast, metrics={"unlearn_seconds": 6.0}),
        record("retrain", 1, config=fast, metrics={"unlearn_seconds": 10.0}),
        record("retrain", 1, config=fast, metrics={"unlearn_seconds": 14.0}),  # a second one of the same task
        record("retrain", 1, config=fast, metrics={"unlearn_seconds": 1.0}, status="failed"),
        record("retrain", 1, config=fast, metrics={"unlearn_seconds": 1.0}, dataset="cifar10_jpeg"),
        record("retrain", 1, config=fast, metrics={"unlearn_seconds": 1.0}, forget_steps=[[1]]),
        record("retrain", 1, config=fast, metrics={"unlearn_seconds": 1.0}, fingerprints={"split": "another"}),
        record("retrain", 1, config=fast, metrics={"unlearn_seconds": 1.0}, environment={"device": "another"}),
        record(
            "retrain", 1, config=fast, metrics={"unlearn_seconds": 1.0}, environment={"device": "cpu", "threads": 9}
        ),
        record("retrain", 1, config=slow, metrics={"unlearn_seconds": 1.0}, model="allcnn"),
        record("finetune", 1, config=fast, metrics={"unlearn_seconds": 1.0}),
    ]
    table = only(runs, fast_retrain_seconds(rivals))
    # 6 s and 12 s over UNSIR's 2 s: 3 and 6, √18 times or divided by exp(12.706 · ln 2 / 2)
    assert column(table, "× fast retrain")["unsir"] == "4.24 [0.05, 346.83]"
    assert column(table, "× retrain")["unsir"] == "10.00 ± 0.00"
    assert column(table, "× fast retrain")["original"] == "–"
    assert "× fast retrain" not in cells(only(runs))[0]


def test_published_numbers_and_differences_are_those_of_the_same_experiment() -> None:
    table = only([record(), record("unsir_slim"), record("finetune")])
    assert (table.exact, table.paper_title) == (True, "paper")
    assert column(table, "paper: A_Dr %") == {
        "original": "77.86", "retrain": "–", "unsir": "71.06", "finetune": "–", "unsir_slim": "–",
    }  # fmt: skip
    assert column(table, "A_Dr minus paper")["unsir"] == "-1.06"
    assert column(table, "A_Df minus paper")["unsir"] == "+10.00"


def test_values_that_the_paper_did_not_use_have_none_of_its_numbers_and_mark_no_others() -> None:
    changed = {"method": {"name": "unsir", "impair": {"lr": 0.5}}}
    table = only([record(), record(run_id="u", config=changed, settings="user"), record("finetune", settings="user")])
    assert (table.exact, table.paper_title) == (True, "paper")
    assert [(row.method, dict(row.published)) for row in table.rows if row.published] == [
        ("original", {"acc_retain_test": 0.7786, "acc_forget_test": 0.8101}),
        ("unsir", {"acc_retain_test": 0.7106, "acc_forget_test": 0.0}),
    ]
    short = only([record(config={"train": {"epochs": 1}})])
    assert (short.exact, short.paper_title) == (False, "paper*")


@pytest.mark.parametrize(
    "change",
    [{"dataset": "cifar10_jpeg"}, {"config": {"at_scale": "cpu"}}, {"config": {"dataset": {"subset": 5}}},
     {"model": "resnet18_slim"}],
)  # fmt: skip
def test_another_scale_or_data_is_named_in_heads_and_caption(change: dict[str, Any]) -> None:
    table = only([record(**change)])
    assert "paper*: A_Dr %" in cells(table)[0] and "paper: A_Dr %" not in cells(table)[0]
    for written in (as_latex(table), as_markdown(table)):
        assert "the published number, which is of another scale or of other data" in written
    assert "scale: " in table.caption
    marked = "not the paper's scale and data" in table.caption
    assert marked == ("dataset" in change or change.get("config", {}).get("at_scale") == "cpu")


def test_an_experiment_that_the_paper_has_no_verified_number_of_has_no_such_columns() -> None:
    table = only([record(forget_classes=[1, 2], forget_steps=[[1, 2]])])
    assert not any("paper" in title for title in cells(table)[0])


def test_data_networks_and_trainings_have_tables_of_their_own() -> None:
    runs = [
        record(), record("a", dataset="digits"), record("b", model="allcnn"),
        record("c", config={"train": {"epochs": 3}}),
    ]  # fmt: skip
    assert len(comparison_tables("s", runs)) == 4


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("train", ({"epochs": 3, "lr": 0.1}, {"epochs": 3, "lr": 0.2}), ["train.lr=0.1", "train.lr=0.2"]),
        (
            "hardware", ({"precision": "bf16"}, {"precision": "fp32"}),
            ["hardware.precision=bf16", "hardware.precision=fp32"],
        ),
    ],
)  # fmt: skip
def test_tables_that_read_the_same_say_what_else_sets_them_apart(
    section: str, values: tuple[dict[str, Any], ...], words: list[str]
) -> None:
    runs = [record(run_id=f"r{place}", config={section: value}) for place, value in enumerate(values)]
    tables = comparison_tables("s", runs)
    assert sorted(table.apart for table in tables) == words
    assert all(table.apart in table.caption for table in tables)
    assert only(runs[:1]).apart == "" and words[0] not in only(runs[:1]).caption
    further = comparison_tables("s", [runs[0], record(dataset="digits")])
    assert [table.apart for table in further] == ["", ""], "another data set reads otherwise"


def test_runs_that_are_not_done_are_counted_and_named() -> None:
    table = only([record(), record(seed=1, status="failed"), record("b", status="diverged")])
    assert column(table, "not done") == {"original": "", "retrain": "", "unsir": "1 failed", "b": "1 diverged"}
    assert "Not done: unsir-1 (failed), b-0 (diverged)." in as_markdown(table)
    assert "unsir{-}1 (failed)" in as_latex(table)


def test_runs_that_ended_before_their_images_were_read_stand_beside_those_of_the_same_options() -> None:
    known = {"fingerprints": {"data": "d"}}
    runs = [record(**known), record("b", status="diverged"), record("c", status="failed", config={"train": {"lr": 2}})]
    table, other = sorted(comparison_tables("s", runs), key=lambda table: -len(table.rows))
    assert column(table, "not done")["b"] == "1 diverged"
    assert [row.method for row in other.rows] == ["c"], "trained otherwise"
    two_folders = [*runs[:2], record(run_id="x", fingerprints={"data": "e"})]
    assert len(comparison_tables("s", two_folders)) == 3, "nobody knows of which images it was"


def test_latex_prints_every_special_character_as_it_is() -> None:
    assert latex_text("a&b_c%d$e#f{g}") == r"a\&b\_c\%d\$e\#f\{g\}"
    assert latex_text("\\x^y~z") == r"\textbackslash{}x\textasciicircum{}y\textasciitilde{}z"
    assert latex_text("[5cm]*--") == "{[}5cm{]}{*}{-}{-}"
    assert latex_text("a\n\n\x00b\u2028c\x85d") == "a b c d"
    assert latex_text("1 ± 2") == r"1 $\pm$ 2"


def test_forgetting_in_sequence_has_a_row_after_each_step() -> None:
    def run(seed: int, accuracies: list[float]) -> RunRecord:
        steps = [
            {
                "classes": [label],
                "metrics": {"acc_retain_test": 0.5, "acc_forget_test": accuracy, "unlearn_seconds": label},
            }
            for label, accuracy in zip([3, 1], accuracies, strict=True)
        ]
        return record(seed=seed, forget_classes=[3, 1], forget_steps=[[3], [1]], details={"steps": steps})

    table = only([run(0, [0.1, 0.3]), run(1, [0.2, 0.5])])
    rows = {row.forget: row for row in table.rows if row.method == "unsir"}
    first, second = rows
    assert first.endswith("after 1: {3}") and second.endswith("after 2: {1, 3}")
    assert rows[first].values("acc_forget_test") == [0.1, 0.2] and rows[second].values("acc_forget_test") == [0.3, 0.5]
    assert not rows[second].published


def test_a_hostile_name_stays_in_its_cell_of_the_latex_table() -> None:
    text = as_latex(only([
        record(HOSTILE, dataset=HOSTILE, model=HOSTILE), record(dataset=HOSTILE, model=HOSTILE),
    ]))  # fmt: skip
    assert text.count(r"\end{tabular}") == text.count(r"\end{table}") == 1
    assert r"\input{" not in text
    commands = set(re.findall(r"\\([a-zA-Z]+)", text))
    assert commands <= {
        "begin", "end", "centering", "small", "caption", "toprule", "midrule", "bottomrule", "textbf", "pm", "times",
        "textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar", "textquotedbl",
        "textasciigrave", "textquotesingle", "resizebox", "ifdim", "else", "fi", "width", "linewidth",
    }  # fmt: skip
    bare = re.sub(r"\\.", "", text)
    assert bare.count("{") == bare.count("}")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    [columns] = {len(re.findall(r"(?<!\\)&", row)) for row in rows}
    spec = re.search(r"begin\{tabular\}\{(l*r*)\}", text)
    assert spec is not None and len(spec[1]) == columns + 1
    assert not any(row.lstrip().startswith(("[", "*")) for row in rows)


def test_a_hostile_name_stays_in_its_cell_of_the_markdown_table() -> None:
    text = as_markdown(only([record(HOSTILE, dataset=HOSTILE), record(dataset=HOSTILE)]))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4 and "<b>" not in text
    assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows}) == 1
