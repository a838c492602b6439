"""Each method's update is that of its authors' public code, rewritten in ``tests.oracles.official_rules``."""

from __future__ import annotations

import pytest

from tests.oracles.official_comparison import compared
from tests.oracles.official_rules import CASES
from unsir_bench.data.device_data import DeviceData

# A step of these passes one batch through the network, or none does, so that batch normalisation sees the same in the
# same order; of two passes the order is free.
SAME_BUFFERS = {
    "amnesiac", "bad_teacher", "boundary_shrink", "boundary_shrink_of_all_classes", "delete", "esc", "finetune",
    "fisher", "gkt", "l1_sparse", "neggrad", "random_label", "salun", "salun_in_passes", "ssd", "ssd_by_class",
    "svd_projection", "task_arithmetic",
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_three_epochs_end_where_the_authors_rule_ends(name: str, digits: DeviceData) -> None:
    apart = compared(CASES[name], digits)
    assert apart.moved > 1e-3, "a rule that moves nothing agrees with any method"
    assert apart.parameters < CASES[name].tolerance, CASES[name].note
    assert name not in SAME_BUFFERS or apart.buffers < 1e-5


def test_the_methods_whose_buffers_are_compared_are_there() -> None:
    assert CASES.keys() >= SAME_BUFFERS
