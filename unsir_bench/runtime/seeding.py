"""Seeds derived by hashing (base seed, role), so that draws for one role never shift those for another.

The seeds of split, initial weights and data order do not depend on the method, so that methods are compared in pairs.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def derived_seed(base: int, *role: str | int) -> int:
    """A 63-bit seed for ``role``, for example ``derived_seed(0, "order", epoch)``."""
    digest = hashlib.sha256("/".join(map(str, (base, *role))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def role_in_step(role: tuple[str | int, ...], step: int) -> tuple[str | int, ...]:
    """``role`` in one step of a forgetting sequence; step 0 keeps the role of a single request."""
    return (*role, "step", step) if step else role


def generator(base: int, *role: str | int) -> torch.Generator:
    """A CPU generator for ``role``: the same draws on every device."""
    return torch.Generator().manual_seed(derived_seed(base, *role))


def seed_everything(base: int, *role: str | int) -> None:
    """Seed the global generators of Python, NumPy and torch (dropout and library initialisers draw from them)."""
    seed = derived_seed(base, *role)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
