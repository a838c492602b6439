"""The methods that UNSIR is compared with, one file each."""

from __future__ import annotations

import importlib
import pkgutil


def import_all() -> None:
    """Import every module of this package, so that its methods are known."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
