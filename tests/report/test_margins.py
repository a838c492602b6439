"""The committed margins: one for every metric that verdicts are given on, each with its reason."""

import pytest

from unsir_bench.report.margins import Margin, margin_of, parse_margins, read_margins
from unsir_bench.report.metric_cards import verdict_cards


def test_every_judged_metric_has_a_margin_with_a_reason_and_its_card_says_the_same() -> None:
    margins = read_margins()
    judged = {card.field: card.minimum_margin for card in verdict_cards()}
    assert {field: found.margin for field, found in margins.items()} == judged
    assert all(len(found.reason) > 20 or found.reason.startswith("as for") for found in margins.values()), margins


def test_the_file_comes_before_the_card() -> None:
    card = verdict_cards()[0]
    assert margin_of(card, {card.field: Margin(0.5, "a test")}) == 0.5
    assert margin_of(card, {}) == card.minimum_margin


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "no mapping"),
        ("a: {margin: 0.1}", "a: .*reason"),
        ("a: {margin: 0, reason: why}", "a: margin=0: must be a positive number"),
        ("a: {margin: wide, reason: why}", "a: margin='wide'"),
        ("a: {margin: 0.1, reason: ' '}", "say why"),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_margins(text)
