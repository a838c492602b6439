"""The cards of the metrics that verdicts are given on; each stands beside its metric in ``evaluation/metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unsir_bench.evaluation.registry import MetricCard


def verdict_cards() -> list[MetricCard]:
    """The cards that state a smallest gap to retrain, in the order of the record's metrics."""
    from unsir_bench.evaluation.registry import cards  # imports torch and every metric

    return [card for card in cards() if card.minimum_margin > 0]
