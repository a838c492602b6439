"""The verdicts on the paper's claims as files: `claims.json`, and `claims.md` to be read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unsir_bench.records import RunRecord
from unsir_bench.report.claims.check import evaluate, once_each
from unsir_bench.report.claims.definitions import Claim, read_claims
from unsir_bench.report.claims.findings import ClaimVerdict, Finding
from unsir_bench.report.claims.measurements import without_ablations
from unsir_bench.report.conditions import NOTHING
from unsir_bench.report.published_numbers import SPEEDUPS
from unsir_bench.report.tables.text import markdown, plain
from unsir_bench.runtime.files import write_atomic


@dataclass(frozen=True)
class Written:
    """The files, and how many verdicts of each kind they hold."""

    paths: list[Path]
    verdicts: dict[str, int]


@dataclass(frozen=True)
class _Counted:
    """The runs of which claims are judged, how many models made elsewhere are not, and what cannot be read."""

    runs: Sequence[RunRecord]
    elsewhere: int
    unreadable: Sequence[Path]


def write_claims(records: Sequence[RunRecord], unreadable: Sequence[Path], folder: Path) -> Written:
    """Write ``claims.json`` and ``claims.md`` into a folder.

    Args:
        records: at least one.
        unreadable: paths of records that could not be read, to be named.
        folder: made if need be.

    Raises:
        ValueError: there are no records.
    """
    if not records:
        raise ValueError("no record to check claims on")
    claims = read_claims()
    findings = evaluate(records, claims)
    own = [record for record in records if not record.checkpoints]
    runs = once_each(own)
    elsewhere = len(once_each(records)) - len(runs)
    counts = dict(sorted(Counter(run.status for run in runs).items()))
    content = {
        "runs": counts,
        "elsewhere": elsewhere,
        "not_done": _not_done(runs),
        "unreadable": [str(path) for path in unreadable],
        "claims": [
            {**asdict(claim), "findings": [asdict(finding) for finding in findings if finding.claim == claim.id]}
            for claim in claims
        ],
    }
    texts = {
        "claims.json": json.dumps(content, indent=2, allow_nan=False) + "\n",
        "claims.md": _document(claims, findings, _Counted(runs, elsewhere, unreadable)),
    }
    for name, text in texts.items():
        write_atomic(folder / name, text)
    verdicts = Counter(finding.verdict.value for finding in findings)
    return Written([folder / name for name in texts], {word.value: verdicts[word.value] for word in ClaimVerdict})


def _not_done(runs: Sequence[RunRecord]) -> list[dict[str, str]]:
    return [
        {"run": run.run_id, "status": run.status, "reason": run.reason or "not recorded"}
        for run in runs
        if run.status != "done"
    ]


def _document(claims: Sequence[Claim], findings: Sequence[Finding], counted: _Counted) -> str:
    """One line for each claim and setting; parts stand in the line of the joint claim, runs in ``claims.json``."""
    whole = [claim for claim in claims if not claim.part]
    rows = [_row(claim, finding) for claim in whole for finding in findings if finding.claim == claim.id]
    notes = [f"- *{plain(claim.claim)}* ({claim.source}): {plain(claim.note)}" for claim in whole]
    parts = ["# The paper's claims on these runs\n", _head(findings, counted), _overview(whole, findings)]
    return "\n".join([*parts, _table(rows), *notes, ""])


def _head(findings: Sequence[Finding], counted: _Counted) -> str:
    placed = [finding for finding in findings if finding.dataset]
    scales = sorted({finding.scale for finding in placed})
    groups = {(f.dataset, f.model, f.preset, f.setting, f.scale, f.conditions) for f in placed if "," not in f.model}
    own = {
        (f.dataset, f.model, f.preset, f.setting, f.scale, f.conditions)
        for f in placed
        if f.at_paper_scale and "," not in f.model
    }
    lines = [
        "Verdicts on the runs below, by `unsir_bench/report/claims/claims.yaml`: *holds*, *fails*, *undecided* "
        "(measured, and the interval reaches over the limit) or *not tested* (a run or a measurement is missing), with "
        "the reason. Numbers are means over seeds (geometric for ratios of seconds) with their 95 % interval "
        "(Student's t, for accuracies no narrower than the exact binomial one of the test samples); accuracies are "
        "fractions of test samples. Verdicts are given one by one, without correction for their number, which "
        "the tables of verdicts have.",
        "",
        f"**Scale and data.** {len(own)} of {len(groups)} groups of UNSIR runs (data set, network, preset and setting) "
        "were run at the paper's scale with its recipe, on images that are no JPEG copies. "
        f"{_of_the_others(len(groups - own), scales)}"
        "Published numbers of other data, another scale or recipe, or an unverified experiment are marked so.",
        "",
    ]
    return "\n".join([*lines, *_runs(counted)]) + "\n"


def _runs(counted: _Counted) -> Iterator[str]:
    """How many runs there are by status, and which take no part."""
    runs = counted.runs
    counts = Counter(run.status for run in runs)
    yield f"**Runs.** {', '.join(f'{count} {status}' for status, count in counts.most_common()) or 'none'}."
    for entry in _not_done(runs):
        yield f"- {plain(entry['run'])}: {entry['status']}, {plain(entry['reason'])}"
    if ablated := len(runs) - len(without_ablations(runs)):
        yield (
            f"- {ablated} with values of the user's own take no part, since their methods also ran with the preset's "
            "or tuned values: a claim is about the method, not about each point of an ablation"
        )
    if counted.elsewhere:
        yield f"- {counted.elsewhere} records of models made elsewhere take no part: nobody here saw them unlearned"
    if counted.unreadable:
        listed = ", ".join(plain(str(path)) for path in counted.unreadable)
        yield f"- {len(counted.unreadable)} records cannot be read and take no part: {listed}"


def _of_the_others(count: int, scales: Sequence[str]) -> str:
    if not count:
        return ""
    return (
        f"The others (scales here: {plain(', '.join(scales)) or 'none'}) are smaller or other experiments of the same "
        "kind: whether a claim holds or fails there says how it fares in that setting, and is no result of the paper's "
        "experiments. "
    )


def _overview(claims: Sequence[Claim], findings: Sequence[Finding]) -> str:
    rows = []
    for claim in claims:
        counts = Counter(finding.verdict for finding in findings if finding.claim == claim.id)
        rows.append({"claim": plain(claim.claim), **{word.value: str(counts[word]) for word in ClaimVerdict}})
    return _table(rows)


def _row(claim: Claim, finding: Finding) -> dict[str, str]:
    preset = f"{finding.preset} ({finding.setting})" if finding.setting else finding.preset
    interval = "" if finding.low is None or finding.high is None else f" [{finding.low:.3g}, {finding.high:.3g}]"
    number = NOTHING if finding.number is None else f"{finding.number:.3g}{interval}"
    where = [finding.dataset, finding.conditions, finding.model, preset, f"scale {finding.scale}", finding.forget]
    not_done = f"not done: {', '.join(finding.not_done)}" if finding.not_done else ""
    cells = {
        "claim": claim.claim,
        "setting": ", ".join(filter(None, where)) if finding.dataset else NOTHING,
        "verdict": f"**{finding.verdict.value}**",
        "number": number,
        "n": str(finding.n),
        "holds if": finding.criterion,
        "published": _published(finding),
        "reason": "; ".join(filter(None, [finding.reason, not_done])),
    }
    return {title: cell if title == "verdict" else plain(cell) or NOTHING for title, cell in cells.items()}


def _published(finding: Finding) -> str:
    if finding.published is None:
        return NOTHING
    if finding.published in SPEEDUPS.values():
        return f"{finding.published:g} (experiment not verified)"
    return f"{finding.published:.4g}" + ("" if finding.published_is_same else " (other scale/data/recipe)")


def _table(rows: Sequence[dict[str, str]]) -> str:
    return markdown(rows) if rows else "None.\n"
