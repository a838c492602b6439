"""`unsir-bench evaluate --original ... --unlearned ...`: models that a script of plain torch made."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import Timeout
from safetensors.torch import load_file

from tests.oracles import digits_unlearned_in_plain_torch as plain
from unsir_bench.cli.bootstrap import compose
from unsir_bench.cli.evaluate import evaluate_command
from unsir_bench.evaluation.evaluate import MetricsConfig
from unsir_bench.records import RunRecord
from unsir_bench.report.claims.check import evaluate as check_claims
from unsir_bench.report.claims.definitions import read_claims
from unsir_bench.report.data import model_table, run_table
from unsir_bench.report.folders import Sweep
from unsir_bench.report.html.page import write_page
from unsir_bench.report.tables.comparison import comparison_tables
from unsir_bench.report.tables.metrics import metric_tables
from unsir_bench.report.tables.paper import as_markdown
from unsir_bench.report.tables.table import summary
from unsir_bench.report.tables.verdicts import verdict_rows
from unsir_bench.runner import run
from unsir_bench.runs import checkpoint_scores
from unsir_bench.runs.experiment import Experiment
from unsir_bench.runs.run_lock import run_lock

TINY = ["model=allcnn_slim", "model.width=4", "metrics=fast", "forget=single"]
RENAMES = ["--rename", "body.*=features.*", "--rename", "linear.*=head.*"]
Evaluate = Callable[..., int]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script left."""
    folder = tmp_path_factory.mktemp("made elsewhere")
    plain.main(folder)
    return folder


@pytest.fixture
def score(made: Path, tmp_path: Path) -> Evaluate:
    """Call the command on files of the script; keywords replace a role's file, None leaves it out."""

    def call(*words: str, **files: Path | None) -> int:
        given = {"original": made / "original.pth", "unlearned": made / "unlearned.pt",
                 "retrained": made / "retrained.safetensors"} | files  # fmt: skip
        options = [word for role, path in given.items() if path for word in (f"--{role}", str(path))]
        return evaluate_command([*options, *TINY, f"outputs={tmp_path}", f"store.root={tmp_path}/store", *words])

    return call


def records(folder: Path) -> list[RunRecord]:
    return [RunRecord.read(path) for path in sorted(folder.glob("*/*/record.json"))]


def test_accuracies_are_those_that_the_script_counted(
    score: Evaluate, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(*RENAMES, "--name", "mine", "dataset=digits") == 0
    [record] = records(tmp_path)
    counted = json.loads((made / "scores.json").read_text())
    assert counted["original"]["A_Dr"] > 0.5 and counted["retrained"]["A_Df"] < counted["original"]["A_Df"]
    for prefix, role in (("original_", "original"), ("retrain_", "retrained"), ("", "unlearned")):
        scored = {
            name: record.metrics[f"{prefix}acc_{kind}_test"] for name, kind in (("A_Df", "forget"), ("A_Dr", "retain"))
        }
        assert scored == counted[role]
    for name in ("unlearn_seconds", "retrain_seconds", "speedup_vs_retrain", "peak_memory_bytes"):
        assert record.metrics[name] is None and "made elsewhere" in record.metric_notes[name]
    assert (record.method, record.status, record.access) == ("mine", "done", {})
    assert record.checkpoints["retrain"]["verified"] is False
    printed = capsys.readouterr().out
    assert "sanity: the original is right on" in printed and "by chance" not in printed


def test_metrics_are_added_to_a_record_and_none_is_lost(score: Evaluate, tmp_path: Path) -> None:
    for words in (["metrics.outputs=true"], ["metrics.weights=true"]):
        assert score(*RENAMES, *words) == 0
    [record] = records(tmp_path)
    assert record.config["metrics"]["outputs"] and record.config["metrics"]["weights"]
    fields = run_table([record])
    assert {"zrf", "weight_distance_to_original_relative"} <= set(fields.columns)


def test_a_bank_is_left_out_since_only_the_makers_recipe_could_train_it(score: Evaluate, tmp_path: Path) -> None:
    assert score(*RENAMES, "metrics=bank", "metrics.relearn.cap=0", "metrics.features=false") == 0
    [record] = records(tmp_path)
    assert record.config["metrics"]["bank_size"] == 0 and "retrain_rmia_auc" not in record.metrics


def test_in_a_true_precision_the_unlearned_model_is_measured_as_its_references_are(
    score: Evaluate, made: Path, tmp_path: Path
) -> None:
    words = ("hardware.precision=bf16-true", "metrics.features=true", "metrics.weights=true")
    assert score(*RENAMES, *words, unlearned=made / "original.pth") == 0
    [record] = records(tmp_path)
    for name in ("acc_retain_train", "layer_information_sum", "weight_distance_to_retrain_sum"):
        assert record.metrics[name] == record.metrics[f"original_{name}"], name
    assert record.metrics["weight_distance_to_original_sum"] == 0


def test_from_python_no_method_takes_part_either(made: Path, tmp_path: Path) -> None:
    """Without a word on the method, a configuration is of `unsir`, which cannot forget samples."""
    words = [*TINY, "dataset=digits", "forget=random_samples", f"outputs={tmp_path}", f"store.root={tmp_path}/store"]
    files = {"original": made / "original.pth", "unlearned": made / "unlearned.pt"}
    record, _ = checkpoint_scores.score_checkpoints(compose(words), "mine", files, RENAMES[1::2])
    assert (record.status, record.method, record.settings, record.study) == ("done", "mine", "", "")
    assert record.metrics["acc_forget_train"] is not None


def test_a_corrected_normalisation_or_recipe_measures_the_references_anew(score: Evaluate, tmp_path: Path) -> None:
    """What the store keeps of the references' scores is of what they were measured with."""
    relearn = ["metrics.outputs=true", "metrics.relearn.cap=40", "metrics.relearn.every=10"]
    for words in (["dataset.mean=[0.9]"], ["train.lr=0.5"], []):
        assert score(*RENAMES, *relearn, *words) == 0
    of = {(run.config["dataset"]["mean"][0], run.config["train"]["lr"]): run for run in records(tmp_path)}
    [wrong], [slow], [right] = (
        [run for (mean, lr), run in of.items() if (mean == 0.9, lr == 0.5) == key]
        for key in ((True, False), (False, True), (False, False))
    )
    assert wrong.metrics["original_acc_retain_test"] != right.metrics["original_acc_retain_test"]
    assert wrong.metrics["original_zrf"] != right.metrics["original_zrf"]
    assert slow.details["retrain_relearn_curve"] != right.details["retrain_relearn_curve"]


def test_such_rows_stand_in_every_table_marked_and_settle_no_claim(
    score: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["tracker=none", "train.epochs=1", "method=finetune", f"outputs={tmp_path}", f"store.root={tmp_path}/store"]
    run(compose([*TINY, *own]))
    assert score(*RENAMES, "--name", "unsir", "train.epochs=1") == 0
    found = records(tmp_path)
    alone = [record for record in found if record.checkpoints]
    for chosen in (found, alone):  # a frame of nulls alone must not end in an error
        rows = summary(model_table(chosen))
        [row] = [row for row in rows if row["method"] == "unsir"]
        assert "made elsewhere" in row["setting"] and row["forget / retain / stored"] == "unknown"
        assert [row["setting"] for row in rows if row["method"] == "retrain"][-1].endswith("made elsewhere, unverified")
        [verdict] = [row for row in verdict_rows(run_table(chosen)) if row["method"] == "unsir"]
        assert "made elsewhere" in verdict["setting"]
        [table] = comparison_tables("runs", chosen)
        assert "unsir (made elsewhere)" in metric_tables(chosen)
        markdown = as_markdown(table)
        assert "made elsewhere" in markdown and "none is marked as best" in markdown
    own_rows = {row["method"]: row for row in summary(model_table(found)) if "setting" not in row or not row["setting"]}
    assert own_rows["retrain"]["n"] == own_rows["original"]["n"] == "1", "references of two origins are not mixed"
    paths = sorted(tmp_path.glob("*/*/record.json"))
    page = write_page([Sweep(tmp_path / "runs", list(zip(paths, found, strict=True)))], tmp_path / "page.html")
    assert "made elsewhere, unverified" in page.path.read_text()
    assert all(finding.preset != "unsir" for finding in check_claims(found, read_claims()))
    capsys.readouterr()
    assert evaluate_command([str(tmp_path / "runs"), "metrics=fast"]) == 1
    assert "its models were made elsewhere" in capsys.readouterr().out


def test_a_record_that_cannot_be_written_is_known_before_anything_is_measured(
    score: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(*_: object) -> None:
        raise AssertionError("it was measured")

    monkeypatch.setattr(checkpoint_scores, "_measure", measure)
    (tmp_path / "file").touch()
    assert score(*RENAMES, f"outputs={tmp_path}/file") == 2
    said = capsys.readouterr().out
    assert "cannot be recorded" in said and "choose another folder by outputs=FOLDER" in said


def test_a_second_command_waits_so_that_no_metric_is_lost(
    score: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, held = checkpoint_scores._measure, []

    def watched(scene: Experiment, metrics: MetricsConfig, weights: Any, folder: Path) -> None:
        with pytest.raises(Timeout), run_lock(folder, wait=False):
            pytest.fail("two commands measure for one record")
        held.append(folder)
        measure(scene, metrics, weights, folder)

    monkeypatch.setattr(checkpoint_scores, "_measure", watched)
    assert score(*RENAMES) == 0
    assert held == [path.parent for path in tmp_path.glob("*/*/record.json")]


def test_what_does_not_fit_is_named_before_anything_is_measured(
    score: Evaluate, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = load_file(made / "retrained.safetensors")
    eleven = {**state, "linear.weight": torch.zeros(11, 8), "linear.bias": torch.zeros(11)}
    spoilt = {**state, "linear.bias": torch.full((10,), float("nan"))}
    for name, content in (("eleven", eleven), ("spoilt", spoilt), ("model", plain.Net()), ("empty", {"epoch": 3})):
        torch.save(content, tmp_path / f"{name}.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    (tmp_path / "nothing.pth").touch()
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"state_dict": print}, protocol=2))
    cases = {
        "eleven.pth": "it answers 11 classes, the data have 10",
        "spoilt.pth": "head.bias holds NaN or infinity",
        "model.pth": "nothing else is ever loaded",
        "pickle.pt": "nothing else is ever loaded",
        "text.pth": "nothing else is ever loaded",
        "nothing.pth": "nothing else is ever loaded",
        "empty.pth": "holds the keys epoch, no state dict",
        "absent.pth": "No such file",
        "absent.txt": "No such file",
    }
    for name, complaint in cases.items():
        assert score(*RENAMES, unlearned=tmp_path / name) == 2, name
        assert complaint in capsys.readouterr().out, name
    huge = {name: value * 1e20 if value.is_floating_point() else value for name, value in state.items()}
    torch.save(huge, tmp_path / "huge.pth")
    for role, word in (("original", "original"), ("unlearned", "unlearned"), ("retrained", "retrain")):
        assert score(*RENAMES, **{role: tmp_path / "huge.pth"}) == 2
        assert f"{word}: some logits of this model are NaN" in capsys.readouterr().out
    wrong_words = {
        ("--rename", "head.*=fc.*"): "has no such tensor",
        ("--rename", "linear"): "write THEIRS=OURS",
        ("--rename", "linear.weight=*.weight"): "more * on the right",
        ("model.width=8", *RENAMES): "has shape (4, 1, 3, 3), needs (8, 1, 3, 3)",
        (): "features.0.0.weight is missing",
        ("model=absent",): "absent",
        ("hardware=cpu", "hardware.devices=2", *RENAMES): "hardware.devices=2: checkpoints are scored on one device",
        ("forget.classes=[77]", *RENAMES): "77",
    }
    for words, complaint in wrong_words.items():
        assert score(*words) == 2, words
        assert complaint in capsys.readouterr().out, words
    assert score(original=None) == 2 and "--original FILE" in capsys.readouterr().out
    assert not records(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda bias: bias.to_sparse(), "head.bias is sparse: save dense tensors"),
        (lambda bias: bias.to("meta"), "head.bias is on the meta device, which holds no values: save dense tensors"),
        (lambda bias: (bias * torch.nan).to(torch.float8_e4m3fn), "head.bias holds NaN or infinity"),
        (lambda bias: bias.double() * 1e300, "head.bias holds numbers too large for float32"),
        (lambda bias: bias.to(torch.int8), "head.bias is int8, needs float32"),
        (None, "Symlink loop"),
    ],
    ids=["sparse", "meta", "float8", "too large", "int8", "link to itself"],
)
def test_a_file_whose_tensors_are_no_dense_floats_is_named_with_the_tensor(
    score: Evaluate, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, complaint: str
) -> None:
    path = tmp_path / "odd.pth"
    if change is None:
        path.symlink_to(path.name)
    else:
        state = load_file(made / "retrained.safetensors")
        torch.save({**state, "linear.bias": change(state["linear.bias"])}, path)
    assert score(*RENAMES, unlearned=path) == 2
    said = capsys.readouterr().out
    assert f"{path}: " in said and complaint in said
