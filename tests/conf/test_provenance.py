"""Where a method's values come from: said by its preset, changed by who overrides it, kept in records and tables."""

from __future__ import annotations

import pytest

from unsir_bench import compose
from unsir_bench.cli.bootstrap import with_published
from unsir_bench.cli.plugins import option_files
from unsir_bench.records import RunRecord
from unsir_bench.report.conditions import provenance_words
from unsir_bench.report.data import PROVENANCE, model_table
from unsir_bench.report.tables.table import summary
from unsir_bench.runs.record_of_run import blank_record


@pytest.mark.parametrize(
    ("words", "settings", "study"),
    [
        (["method=salun_published"], "published", ""),
        (["method=salun"], "tuned", "digits grid"),
        (["method=salun", "method.share=0.4"], "user", ""),
        (["method=salun", "seed=3"], "tuned", "digits grid"),
        (["method=unsir"], "published", ""),
        (["method=unsir", "+method.noise={steps:3}"], "user", ""),
        (["method=unsir_slim"], "tuned", "cifar10_jpeg_slim_tuning"),
        (["method=gkt"], "user", ""),
        (["method=logit_mask"], "none", ""),
    ],
)
def test_a_record_says_where_values_come_from_and_no_run_id_depends_on_it(
    words: list[str], settings: str, study: str
) -> None:
    config = compose(words)
    record = blank_record(config)
    assert (record.settings, record.study) == (settings, study)
    assert not {"settings", "study"} & set(record.config["method"])
    before = config.run_id
    config.method.settings, config.method.study = "published", "another"
    assert config.run_id == before


def test_every_preset_says_where_its_values_come_from() -> None:
    for name, file in option_files("method").items():
        if "/" not in name:
            text = file.read_text(encoding="utf-8")
            assert "\nsettings: " in text, f"{file} does not say `settings`"
            assert ("settings: published" in text) or not name.endswith("_published"), file


def test_settings_published_chooses_the_preset_of_the_authors() -> None:
    words = ["-m", "method=salun,cf_k,delete", "settings=published", "seed=0"]
    assert list(with_published(words)) == [
        "-m",
        "method=salun_published,cf_k,delete_published",
        "settings=published",
        "seed=0",
    ]
    assert list(with_published(["method=salun"])) == ["method=salun"]


def test_tables_show_it_and_leave_the_column_out_where_no_record_says() -> None:
    metrics: dict[str, float | int | None] = {"acc_retain_test": 0.9, "acc_forget_test": 0.1}

    def record(method: str, settings: str, study: str = "") -> RunRecord:
        found = RunRecord(method, "s", method, "digits", "net", 0, {}, status="done", metrics=dict(metrics))
        found.settings, found.study = settings, study
        return found

    rows = summary(model_table([record("a", "tuned", "s1"), record("b", "published"), record("c", "none")]))
    shown = {row["method"]: row[PROVENANCE] for row in rows}
    assert (shown["a"], shown["b"], shown["c"]) == ("tuned (s1)", "published", "")
    assert all(PROVENANCE not in row for row in summary(model_table([record("a", ""), record("c", "none")])))
    assert provenance_words(record("a", "user")) == "user"
