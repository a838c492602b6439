"""Each method's update is that of its authors' public code, rewritten in ``tests.oracles.official_rules``."""

from __future__ import annotations

import pytest

from tests.oracles.official_comparison import compared
from tests.oracles.official_rules import CASES
from unsir_bench.data.device_data import DeviceData


@pytest.mark.parametrize("name", CASES)
def test_three_epochs_end_where_the_authors_rule_ends(name: str, digits: DeviceData) -> None:
    apart, moved = compared(CASES[name], digits)
    assert moved > 1e-3, "a rule that moves nothing agrees with any method"
    assert apart < CASES[name].tolerance, CASES[name].note
