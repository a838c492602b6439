"""The records that a sweep of a test left, and what of them must not depend on how or when it was made."""

import json
from pathlib import Path

TIMED = ("seconds", "speedup", "bytes")


def records(outputs: Path) -> dict[str, dict]:
    """The records below a folder of sweeps, by run id."""
    found = [json.loads(path.read_text()) for path in outputs.glob("*/*/record.json")]
    return {record["run_id"]: record for record in found}


def comparable(found: dict[str, dict]) -> dict[str, object]:
    """All results but times and memory."""
    return {
        run_id: (
            record["status"],
            record["fingerprints"],
            record["access"],
            {key: value for key, value in record["metrics"].items() if not any(word in key for word in TIMED)},
        )
        for run_id, record in found.items()
    }
