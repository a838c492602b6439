"""Seeds by role: fixed for ever, apart from each other, and independent of the global generators."""

import random

import numpy as np
import pytest
import torch

from unsir_bench.runtime.seeding import derived_seed, generator, seed_everything


@pytest.mark.parametrize(
    ("role", "digest"),
    [
        # First 16 hexadecimal digits of `printf '0/order/3' | sha256sum`, and so on. A change, such as to
        # Python's salted hash, would disown every stored model and record.
        ((0, "order", 3), "4b9958534e8d938f"),
        ((0, "initial weights"), "1f4ab5c215dedb5e"),
        ((42, "forget classes"), "4fa4389c18bc7a9a"),
    ],
)
def test_seeds_are_the_published_ones(role: tuple[int | str, ...], digest: str):
    assert derived_seed(*role) == int(digest, 16) // 2  # type: ignore[arg-type]


def test_seeds_fit_every_generator():
    seeds = [derived_seed(base, "role") for base in range(2000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_no_two_of_many_roles_share_a_seed():
    roles = [(base, role, epoch) for base in range(10) for role in ("order", "augment", "noise") for epoch in range(50)]
    assert len({derived_seed(*role) for role in roles}) == len(roles)


def test_neighbouring_seeds_have_unrelated_bits():
    """Half of the 63 bits differ on average; a counter's neighbours would differ in two."""
    flips = [bin(derived_seed(base, "order") ^ derived_seed(base + 1, "order")).count("1") for base in range(200)]
    assert sum(flips) / len(flips) == pytest.approx(31.5, abs=1.5)


def test_a_generator_repeats_by_role_and_differs_between_roles():
    def draw(*role: str | int) -> list[int]:
        return torch.randint(0, 10**9, (5,), generator=generator(0, *role)).tolist()

    assert draw("order", 1) == draw("order", 1)
    assert draw("order", 1) != draw("order", 2)
    assert draw("order") != draw("augment")


def test_a_generator_neither_reads_nor_moves_the_global_one():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = torch.rand(3, generator=generator(0, "noise"))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(torch.rand(3, generator=generator(0, "noise")), first)


def global_draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_all_three_global_generators_are_seeded_by_role():
    seed_everything(0, "initial weights")
    first = global_draws()
    global_draws()
    seed_everything(0, "initial weights")
    assert global_draws() == first
    seed_everything(0, "dropout")
    assert all(one != other for one, other in zip(global_draws(), first, strict=True))
    seed_everything(1, "initial weights")
    assert all(one != other for one, other in zip(global_draws(), first, strict=True))
