"""The definitions of the claims: each mistake in the file is named."""

import pytest

from unsir_bench.report.claims.definitions import parse_claims

ENTRY = """
a:
  claim: c
  source: paper
  quantity: acc_forget_test
  methods: [unsir]
  forget: each
  families: [cnn]
  settled_by: seeds
  comparison: below
  limit: 0.1
  needs: {}
  note: n
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("comparison: below", "comparison: about", "comparison='about' is none of"),
        ("limit: 0.1", "limit: [0, 1]", "below needs another limit"),
        ("comparison: below", "comparison: within", "within needs another limit"),
        ("comparison: below", "comparison: not_below_retrain", "needs a tolerance"),
        ("quantity: acc_forget_test", "quantity: [b]", "compared by all_hold"),
        ("settled_by: seeds", "settled_by: run", "compared by within"),
        ("  note: n", "  nota: n", "nota"),
        ("source: paper", "source: hearsay", "source='hearsay'"),
        ("a:\n", "- a\n", "claims"),
    ],
)
def test_a_mistake_in_the_claims_is_named(old: str, new: str, message: str) -> None:
    assert len(parse_claims(ENTRY)) == 1
    text = "- a" if new == "- a\n" else ENTRY.replace(old, new)
    with pytest.raises(ValueError, match="claims") as caught:
        parse_claims(text)
    assert message in str(caught.value)
