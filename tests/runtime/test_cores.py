"""Shares of the CPU cores of a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from unsir_bench.runtime.cores import own_cores, shares


@pytest.mark.parametrize(
    ("cores", "count", "expected"),
    [
        ([], 2, [[], []]),
        ([3], 2, [[3], [3]]),
        ([0, 2], 2, [[0], [2]]),
        ([0, 1, 2], 2, [[0], [1, 2]]),
        ([0, 1, 2, 3, 4], 1, [[0, 1, 2, 3, 4]]),
        (list(range(8)), 3, [[0, 1], [2, 3, 4], [5, 6, 7]]),
    ],
)
def test_shares_are_even_and_disjoint_where_there_are_enough_cores(
    cores: list[int], count: int, expected: list[list[int]]
) -> None:
    assert shares(cores, count) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin processes to cores")
def test_a_pinned_process_knows_no_other_core_and_torch_takes_as_many_threads() -> None:
    one = own_cores()[-1]
    code = (
        f"from unsir_bench.runtime.cores import keep_to, own_cores; keep_to([{one}]); import torch; "
        "print(own_cores(), torch.get_num_threads())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == f"[{one}] 1"
