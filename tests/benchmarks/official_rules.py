"""A Markdown table: our updates against those of the authors' public code, in float64 after some epochs.

    .venv/bin/python -m tests.benchmarks.official_rules > table.md

A tiny AllCNN on 200 digits, classes 1 and 2 forgotten. `tests/oracles/official_rules.py` holds the rules.
"""

from __future__ import annotations

import torch

from tests.oracles.official_comparison import FORGET, compared
from tests.oracles.official_rules import CASES, EPOCHS, READ_IN
from unsir_bench.cli.bootstrap import bootstrap
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.digits import Digits
from unsir_bench.report.tables.text import markdown
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.runtime.progress import Progress

ELSEWHERE = (
    "Not here: `amnesiac_subtract`, whose update is recorded while the original trains "
    "(`tests/baselines/test_amnesiac.py`). `retrain`, `original`, `logit_mask` and `head_distillation` have no public "
    "code of their own."
)


def main() -> None:
    """Print the table; the largest differences are between parameters."""
    torch.set_num_threads(1)
    bootstrap()
    config = Digits(subset=20, mean=[0.305], std=[0.376], batch_size=32)
    images = config.load(Progress(interactive=False))
    data = DeviceData(images, config, HardwareConfig(accelerator="cpu"), torch.device("cpu"), channels_last=False)
    rows = []
    for name, case in CASES.items():
        apart, _, moved = compared(case, data)
        rows.append(
            {
                "method": f"`{name}`",
                "rule read in": READ_IN[name],
                "largest difference": f"{apart:.1e}",
                "largest move": f"{moved:.1e}",
                "why above 1e-6": case.note if apart > 1e-6 else "",
            }
        )
    print(f"Largest difference of a parameter after {EPOCHS} epochs, float64, classes {FORGET} of the digits.\n")
    print(markdown(rows))
    print(ELSEWHERE)


if __name__ == "__main__":
    main()
