"""Claims that join others: of the same runs, or of every network of several families."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from unsir_bench.report.claims.definitions import Claim
from unsir_bench.report.claims.findings import ClaimVerdict, Finding, GroupFinding, family
from unsir_bench.report.claims.measurements import ClaimRun

WORST_FIRST = (ClaimVerdict.FAILS, ClaimVerdict.NOT_TESTED, ClaimVerdict.UNDECIDED, ClaimVerdict.HOLDS)


def across_networks(
    claim: Claim, judged: Sequence[GroupFinding], everything: Sequence[ClaimRun]
) -> Iterator[GroupFinding]:
    """Whether other claims hold for every network of every family that this one is about, under the same conditions."""
    families = {claim_run.record.model: family(claim_run.record) for claim_run in everything}
    groups: dict[tuple[str, ...], list[GroupFinding]] = defaultdict(list)
    for each in judged:
        if (finding := each.finding).claim in claim.quantity and families.get(finding.model) in claim.families:
            groups[finding.dataset, finding.scale, finding.preset, finding.setting, each.across_networks].append(each)
    for place in sorted(groups):
        members = [each.finding for each in groups[place]]
        words, verdicts = [], []
        for kind in claim.families:
            of_kind = [finding for finding in members if families[finding.model] == kind]
            counts = Counter(finding.verdict.value for finding in of_kind)
            verdicts += [finding.verdict for finding in of_kind] or [ClaimVerdict.NOT_TESTED]
            words.append(f"{kind}: {', '.join(f'{n} {word}' for word, n in sorted(counts.items())) or 'no run'}")
        first = members[0]
        joint = Finding(
            claim.id, first.dataset, ", ".join(dict.fromkeys(finding.model for finding in members)), first.preset,
            first.setting, first.scale, "; ".join(dict.fromkeys(finding.conditions for finding in members)),
            ", ".join(dict.fromkeys(finding.forget for finding in members)),
            next(verdict for verdict in WORST_FIRST if verdict in verdicts), None, None, None, len(members),
            f"{' and '.join(claim.quantity)} hold for each of {', '.join(claim.families)}", "; ".join(words),
            sorted({run for finding in members for run in finding.runs}),
            sorted({run for finding in members for run in finding.not_done}), None, False,
            all(finding.at_paper_scale for finding in members),
        )  # fmt: skip
        yield GroupFinding(joint, " ".join(sorted({each.key for each in groups[place]})))


def together(claim: Claim, judged: Sequence[GroupFinding]) -> Iterator[GroupFinding]:
    """Whether other claims hold of the same runs: one verdict for each group that all of them have."""
    groups: dict[tuple[str, ...], list[GroupFinding]] = defaultdict(list)
    for each in judged:
        finding = each.finding
        if finding.claim in claim.quantity and any(fnmatchcase(finding.dataset, known) for known in claim.datasets):
            own = (finding.dataset, finding.model, finding.preset, finding.setting, finding.scale, finding.forget)
            groups[*own, each.key].append(each)
    for place in sorted(groups):
        members = [each.finding for each in groups[place]]
        if len(members) < len(claim.quantity) or not members[0].dataset:
            continue
        verdict = next(verdict for verdict in WORST_FIRST if verdict in [finding.verdict for finding in members])
        joint = replace(
            members[0], claim=claim.id, verdict=verdict, number=None, low=None, high=None,
            n=min(finding.n for finding in members),
            criterion=" and ".join(f"{finding.claim} {finding.criterion}" for finding in members),
            reason="; ".join(map(_in_words, members)), runs=sorted({run for one in members for run in one.runs}),
            not_done=sorted({run for one in members for run in one.not_done}), published=None, published_is_same=False,
        )  # fmt: skip
        yield replace(groups[place][0], finding=joint)


def _in_words(finding: Finding) -> str:
    """A part of a joint claim: its verdict, its number, and why where nothing is settled."""
    interval = "" if finding.low is None or finding.high is None else f" [{finding.low:.3g}, {finding.high:.3g}]"
    number = "" if finding.number is None else f" {finding.number:.3g}{interval}"
    why = f" ({finding.reason})" if finding.reason else ""
    return f"{finding.claim} {finding.verdict}{number}{why}"
