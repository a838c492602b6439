"""Records made for claims, and what the claims find in them."""

from collections.abc import Mapping, Sequence
from typing import Any

from unsir_bench.records import RunRecord
from unsir_bench.report.claims.check import evaluate
from unsir_bench.report.claims.definitions import Claim, read_claims
from unsir_bench.report.claims.findings import Finding

CLAIMS = {claim.id: claim for claim in read_claims()}


REFERENCES = {
    "original_acc_forget_test": 0.8, "original_acc_retain_test": 0.8, "retrain_acc_retain_test": 0.8,
    "retrain_acc_forget_test": 0.0,
}  # fmt: skip


def record(
    seed: int = 0,
    metrics: Mapping[str, float | None] | None = None,
    method: str = "unsir",
    classes: Sequence[int] = (0,),
    touched: int | None = 0,
    config: Mapping[str, Any] | None = None,
    **fields: Any,
) -> RunRecord:
    samples = {"samples": {"forget_test": 1000, "retain_test": 9000}}
    known = {"dataset": "cifar10_jpeg", "model": "resnet18_slim", "status": "done", "details": samples, **fields}
    name = f"{method}-{known['dataset']}-{known['model']}-{'_'.join(map(str, classes))}-{seed}"
    return RunRecord(
        **{"run_id": name, **known}, sweep="s", method=method, seed=seed,
        config={"at_scale": "cpu", "method": {"name": method}, **(config or {})},
        forget_set=f"of {len(classes)}", forget_classes=list(classes), forget_steps=[list(classes)],
        metrics={**REFERENCES, **(metrics or {})},
        access={"declared": [], "forget": {} if touched is None else {"samples": touched}},
    )  # fmt: skip


def findings(name: str, records: Sequence[RunRecord]) -> list[Finding]:
    return [finding for finding in evaluate(records, with_parts(name)) if finding.claim == name]


def with_parts(name: str) -> list[Claim]:
    """A claim after those that it joins."""
    parts = CLAIMS[name].quantity if isinstance(CLAIMS[name].quantity, list) else []
    return [*(claim for part in parts for claim in with_parts(part)), CLAIMS[name]]


def finding(name: str, records: Sequence[RunRecord]) -> Finding:
    [only] = findings(name, records)
    return only


def over_seeds(field: str, values: Sequence[float], **fields: Any) -> list[RunRecord]:
    return [record(seed, {field: value}, **fields) for seed, value in enumerate(values)]


def both_fine(model: str, loss: float = 0.01) -> list[RunRecord]:
    metrics = {"acc_forget_test": 0.0, "acc_retain_test": 0.8 - loss}
    return [record(seed, metrics, model=model) for seed in (0, 1)]
