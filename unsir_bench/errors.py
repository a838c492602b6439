"""The errors that a user can cause and fix; each message names the key, the value and the fix."""

from __future__ import annotations

from collections.abc import Sequence


class UnsirBenchError(Exception):
    """Base of every error this project raises on purpose."""


class ConfigError(UnsirBenchError):
    """One or more settings are wrong; every mistake found is in the message.

    Attributes:
        problems: one line per mistake.
    """

    def __init__(self, problems: Sequence[str]):
        self.problems = list(problems)
        count = len(self.problems)
        heading = "1 setting is wrong" if count == 1 else f"{count} settings are wrong"
        super().__init__(f"{heading}; nothing was started:\n" + "\n".join(f"  - {line}" for line in self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return ConfigError, (self.problems,)


class DataError(UnsirBenchError):
    """The images cannot be read as asked."""


class PretrainedWeightsError(UnsirBenchError):
    """Pretrained weights cannot be reached or do not fit the model."""


class DamagedEntryError(UnsirBenchError):
    """An entry of the store or of the decoded cache is not what was written under its key."""


class UnrecordableError(UnsirBenchError):
    """A record would hold what no reader takes: a number too large, or more bytes than a record may have."""


class UnreadableError(UnsirBenchError):
    """A file that may be whole cannot be read now, so that it is neither taken nor replaced."""


class NotRecordedError(UnsirBenchError):
    """A run's record cannot be written: a full disk, a folder or an earlier record without access, a path too long."""


class AccessDenied(UnsirBenchError):  # noqa: N818 - the contract's name for it
    """A method touched data or state that it did not declare in ``requires``."""


class NotApplicable(UnsirBenchError):  # noqa: N818 - a status, not a fault of the program
    """The method needs something that this run cannot give it; the run is recorded as skipped, with the reason."""


class NotEnoughMemoryError(UnsirBenchError):
    """Less memory is free than a run needs: it fails, and the same command tries it again."""


class MetricUnavailable(UnsirBenchError):  # noqa: N818 - a null in the record, not a fault of the program
    """A metric is undefined for this run; it is recorded as null with this reason, and the others still come out."""


class Diverged(UnsirBenchError):  # noqa: N818 - a status, not a fault of the program
    """A loss, a weight or a logit became NaN or infinite.

    Attributes:
        phase: the phase of the run, such as ``original`` or ``impair``.
        step: optimiser steps taken in that phase, counted from 1.
        what: it was, in words.
    """

    def __init__(self, phase: str, step: int, value: float, what: str = "the loss"):
        self.phase, self.step, self.what = phase, step, what
        super().__init__(f"{what} became {value} in phase '{phase}' at step {step}; a lower learning rate may help")

    def __reduce__(self) -> tuple[type[Diverged], tuple[str, int, float, str]]:
        return Diverged, (self.phase, self.step, float("nan"), self.what)


class SharingError(UnsirBenchError):
    """A place that a store is shared through cannot be read or written."""
