"""The file that holds a study's trials, one line of JSON a change; one that was cut costs that change alone."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from unsir_bench.errors import UnsirBenchError

if TYPE_CHECKING:
    import optuna

LOG = logging.getLogger("unsir_bench")


class JournalDamagedError(UnsirBenchError):
    """The file of a study's trials cannot be read."""


def cut_unfinished_line(journal: Path) -> None:
    """Remove what a full disk or a power cut left of the last line.

    Optuna passes over it, but writes the next line behind it, and then reads neither.

    Args:
        journal: need not be there; nobody else may write to it meanwhile.
    """
    content = journal.read_bytes() if journal.is_file() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        LOG.warning("%s: its last line is cut; the trial that it is of is tried again", journal)
        os.truncate(journal, whole)


def opened_journal(journal: Path, name: str) -> optuna.Study:
    """The study in a journal, made if there is none.

    Raises:
        JournalDamagedError: a line cannot be read.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        return optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
    except ValueError as error:  # JSONDecodeError is one
        raise JournalDamagedError(
            f"{journal}: a line of it cannot be read ({error}); restore the file, or remove it to begin the study again"
        ) from error
