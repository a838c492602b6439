from __future__ import annotations

import pytest
import torch

from unsir_bench.runtime.float64 import as_float64, device_of_float64


@pytest.mark.parametrize(("device", "place"), [("mps", "cpu"), ("cuda:1", "cuda:1"), ("cpu", "cpu")])
def test_what_has_no_float64_hands_over_to_the_cpu(device: str, place: str) -> None:
    assert device_of_float64(torch.device(device)) == torch.device(place)


def test_values_are_kept_to_the_bit() -> None:
    tensor = torch.rand(5)
    wide = as_float64(tensor)
    assert wide.dtype == torch.float64 and torch.equal(wide.float(), tensor)
