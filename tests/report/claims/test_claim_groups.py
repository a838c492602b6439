"""Which runs a claim is judged on together: of one experiment, each once, none left unnamed."""

from dataclasses import replace
from typing import Any

import pytest

from tests.report.claims.claim_records import CLAIMS, both_fine, finding, findings, over_seeds, record
from unsir_bench.records import RunRecord
from unsir_bench.report.claims.check import evaluate, once_each
from unsir_bench.report.claims.definitions import read_claims
from unsir_bench.report.claims.findings import ClaimVerdict
from unsir_bench.report.conditions import conditions


def test_networks_of_different_conditions_do_not_make_a_claim_hold_together() -> None:
    """A CNN that was trained for 3 epochs and a ViT for 4 are two experiments: neither has both families."""

    def trained(model: str, epochs: int) -> list[RunRecord]:
        return [replace(run, config={**run.config, "train": {"epochs": epochs}}) for run in both_fine(model)]

    together = findings("works_on_cnn_and_vit", trained("resnet18", 3) + trained("vit_slim", 3))
    assert [found.verdict for found in together] == [ClaimVerdict.HOLDS]
    apart = findings("works_on_cnn_and_vit", trained("resnet18", 3) + trained("vit_slim", 4))
    assert [found.verdict for found in apart] == [ClaimVerdict.NOT_TESTED] * 2


def pretrained(yes: bool, forgotten: float, name: str, method: str = "unsir") -> list[RunRecord]:
    config = {"model": {"pretrained": yes}, "train": {"epochs": 3}}
    metrics = {"acc_forget_test": forgotten, "acc_retain_test": 0.79}
    return [record(seed, metrics, method, config=config, run_id=f"{name}-{seed}", model="resnet18") for seed in (0, 1)]


def test_networks_of_one_name_are_judged_apart_and_say_what_differs() -> None:
    scratch, forgetful = pretrained(False, 0.0, "scratch"), pretrained(True, 0.7, "pretrained")
    joint = {found.verdict: found for found in findings("forgets_and_keeps", scratch + forgetful)}
    assert {verdict: found.runs for verdict, found in joint.items()} == {
        ClaimVerdict.HOLDS: ["scratch-0", "scratch-1"],
        ClaimVerdict.FAILS: ["pretrained-0", "pretrained-1"],
    }
    assert {verdict: found.conditions for verdict, found in joint.items()} == {
        ClaimVerdict.HOLDS: "JPEG copies of the images, original trained 3 epochs, model.pretrained=False",
        ClaimVerdict.FAILS: "JPEG copies of the images, original trained 3 epochs, model.pretrained=True",
    }
    assert "pretrained" not in finding("forgets_and_keeps", scratch).conditions


def test_a_control_is_named_beside_the_network_that_it_ran_on_alone() -> None:
    scratch, other = pretrained(False, 0.0, "scratch"), pretrained(True, 0.0, "pretrained")
    mask = pretrained(True, 0.0, "mask", method="logit_mask")
    found = {each.runs[0]: each.reason for each in findings("forgets_and_keeps", scratch + other + mask)}
    assert "logit_mask" in found["pretrained-0"] and "logit_mask" not in found["scratch-0"]


def test_what_the_runs_of_a_claim_mix_is_said_of_its_number() -> None:
    def on(*capabilities: str) -> list[RunRecord]:
        return [
            record(seed, {"acc_forget_test": 0.0}, environment={"cpu": "x", "cpu_capability": name})
            for seed, name in enumerate(capabilities)
        ]

    mixed = finding("forgets", on("AVX2", "AVX512"))
    assert (mixed.verdict, mixed.reason) == (ClaimVerdict.HOLDS, "runs from 2 kinds of CPU")
    assert finding("forgets", on("AVX2", "AVX2")).reason == ""
    one_seed = finding("forgets", [replace(run, seed=0) for run in on("AVX2", "AVX512")])
    assert one_seed.reason == "one seed cannot exclude chance: at least 2 are needed; runs from 2 kinds of CPU"
    assert finding("forgets_and_keeps", both_on_two_kinds_of_cpu()).reason.count("2 kinds of CPU") == 1


def both_on_two_kinds_of_cpu() -> list[RunRecord]:
    return [replace(run, environment={"cpu": "x", "cpu_capability": f"AVX{run.seed}"}) for run in both_fine("resnet18")]


@pytest.mark.parametrize(
    "change",
    [{"dataset": "digits"}, {"model": "allcnn"}, {"method": "unsir_slim"}, {"config": {"at_scale": "smoke"}},
     {"config": {"train": {"epochs": 3}}}, {"config": {"dataset": {"subset": 10}}},
     {"config": {"method": {"impair": {"lr": 0.5}}}}, {"environment": {"device": "a GPU"}}, {"classes": [3]}],
)  # fmt: skip
def test_runs_of_different_experiments_are_never_averaged(change: dict[str, Any]) -> None:
    base = over_seeds("acc_forget_test", [0.0, 0.0])
    other = over_seeds("acc_forget_test", [0.9, 0.9], **change)
    for place, run in enumerate(other):
        run.run_id = f"other-{place}"
    assert sorted(found.number or 0.0 for found in findings("forgets", base + other)) == [0.0, 0.9]


def test_points_of_an_ablation_are_not_judged_beside_the_preset_but_alone_they_are() -> None:
    preset = over_seeds("acc_forget_test", [0.0, 0.0], settings="published")
    changed = over_seeds("acc_forget_test", [0.9, 0.9], settings="user", config={"method": {"impair": {"lr": 0.5}}})
    for place, run in enumerate(changed):
        run.run_id = f"changed-{place}"
    assert finding("forgets", preset + changed).verdict is ClaimVerdict.HOLDS
    assert finding("forgets", changed).verdict is ClaimVerdict.FAILS
    elsewhere = [replace(run, dataset="digits") for run in changed]
    assert {found.verdict for found in findings("forgets", preset + elsewhere)} == {
        ClaimVerdict.HOLDS,
        ClaimVerdict.FAILS,
    }


def test_a_preset_that_failed_leaves_the_users_own_values() -> None:
    changed = over_seeds("acc_forget_test", [0.9, 0.9], settings="user", config={"method": {"impair": {"lr": 0.5}}})
    for place, run in enumerate(changed):
        run.run_id = f"changed-{place}"
    failed = record(0, settings="published", status="failed")
    assert ClaimVerdict.FAILS in {found.verdict for found in findings("forgets", [failed, *changed])}


def test_a_sub_class_or_samples_are_no_class_that_a_claim_is_about() -> None:
    """Retraining itself answers half of a sub-class by its class."""
    assert finding("forgets", over_seeds("acc_forget_test", [0.5, 0.5], classes=[])).reason == "no runs"


def test_a_run_without_a_scale_has_that_of_runs_that_share_all_else() -> None:
    unnamed = record(0, config={"at_scale": None})
    assert [found.scale for found in conditions([unnamed, record(1)])] == ["cpu", "cpu"]
    assert [found.scale for found in conditions([unnamed])] == ["not named"]
    third = record(2, config={"at_scale": "smoke"})
    assert [found.scale for found in conditions([unnamed, record(1), third])] == ["not named", "cpu", "smoke"]


def test_a_run_in_two_folders_counts_once_and_other_methods_do_not() -> None:
    runs = over_seeds("acc_forget_test", [0.0, 0.0])
    other = record(5, {"acc_forget_test": 0.9}, method="finetune")
    assert finding("forgets", [*runs, *runs, other]).n == 2
    failed = record(0, {"acc_forget_test": 0.9}, status="failed")
    assert finding("forgets", [failed, *runs]).not_done == []
    evaluated = replace(runs[0], evaluated=[{"metrics": {}, "finished": "2026-01-01T00:00:00+00:00"}])
    assert [once_each(copies) for copies in ([runs[0], evaluated], [evaluated, runs[0]])] == [[evaluated]] * 2


def test_runs_of_one_seed_are_averaged_and_all_named() -> None:
    runs = over_seeds("acc_forget_test", [0.01, 0.02, 0.03])
    again = replace(runs[0], run_id="again", metrics={**runs[0].metrics, "acc_forget_test": 0.03})
    found = finding("forgets", [*runs, again])
    assert found.number == pytest.approx((0.02 + 0.02 + 0.03) / 3)
    assert found.n == 3
    assert "again" in found.runs and len(found.runs) == 4


def test_failed_runs_are_named_and_diverged_ones_forbid_a_claim_to_hold() -> None:
    runs = over_seeds("acc_forget_test", [0.0, 0.0])
    failed = record(7, status="failed")
    found = finding("forgets", [*runs, failed])
    assert found.verdict is ClaimVerdict.HOLDS and found.not_done == [f"{failed.run_id} (failed)"]
    diverged = finding("forgets", [*runs, record(7, status="diverged")])
    assert diverged.verdict is ClaimVerdict.UNDECIDED and "diverged" in diverged.reason
    nothing = finding("forgets", [failed])
    assert nothing.verdict is ClaimVerdict.NOT_TESTED and nothing.reason == "no finished run"


def test_without_runs_of_unsir_every_claim_is_not_tested() -> None:
    found = evaluate([record(0, method="finetune")], read_claims())
    assert len(found) == len(CLAIMS)
    assert all(entry.verdict is ClaimVerdict.NOT_TESTED and entry.reason == "no runs" for entry in found)
