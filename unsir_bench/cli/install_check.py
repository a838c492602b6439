"""Catch a torch and a torchvision that do not belong together, before either fails with an unreadable message.

torchvision's compiled operators load into exactly one release of torch, and a CPU-only torch beside a torchvision
built for CUDA does not import either (``operator torchvision::nms does not exist``).
"""

from __future__ import annotations

import sys
from importlib import metadata

from unsir_bench.errors import UnsirBenchError

TESTED_PAIR = "torch==2.14.1 torchvision==0.29.1"


class BrokenInstallError(UnsirBenchError):
    """torch and torchvision cannot be imported together."""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def check_torch_pair() -> None:
    """Import torch and torchvision together.

    Raises:
        BrokenInstallError: they are absent or do not match; the message names both and the command that fixes it.
    """
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise BrokenInstallError(
            f"torch {_version('torch')} and torchvision {_version('torchvision')} do not work together ({error}).\n"
            f"Install the pair that is tested:  pip install --force-reinstall {TESTED_PAIR}\n"
            "or run `make setup` in the project, which installs requirements.lock."
        ) from error


def main() -> None:
    """Report the pair, or explain what is wrong and exit with status 1."""
    try:
        check_torch_pair()
    except BrokenInstallError as error:
        sys.exit(str(error))
    print(f"torch {_version('torch')} and torchvision {_version('torchvision')} work together.")


if __name__ == "__main__":
    main()
