"""Where runs are logged, and what is checked of it before any work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

from unsir_bench.config_fields import choice, not_hashed
from unsir_bench.runtime.extras import install_words

# Trackers that Lightning has a logger for, and the modules of the extra `trackers` that each needs.
LOGGERS = {"mlflow": ("pytorch_lightning", "mlflow"), "tensorboard": ("tensorboard",)}
IN_EACH_RECORD = (
    "holds a password, a token or a user's name, which each record would show; set MLFLOW_TRACKING_URI, or "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
)
NAMES_OF_SECRETS = re.compile(r"(?:key|passw(?:or)?d|pwd|token|secret)$", re.IGNORECASE)  # of variables
# A password may hold `/`, `?`, `#` or `@`, which an address should encode; a number before one of these is a port.
PASSWORD = re.compile(r"(?<=//)[^/?#\s@:[]*:(?!\d{1,5}[/?#])\S*@")
USER_INFO = re.compile(rf"{PASSWORD.pattern}|(?<=//)[^/?#\s]*@")
IN_QUERY = re.compile(
    r"([?&;][\w.-]*(?:password|passwd|pwd|token|secret|api_?key|signature|sig)=)[^&;\s'\"]*", re.IGNORECASE
)


def holds_password(address: str) -> bool:
    """Whether an address has a user's name, which may be a token, or a password in it."""
    if PASSWORD.search(address):
        return True
    try:
        parts = urlsplit(address)
    except ValueError:  # it is no address, which others say
        return False
    return "@" in parts.netloc or IN_QUERY.search(f"?{parts.query}") is not None


def without_passwords(text: str) -> str:
    """A text whose addresses show neither users nor passwords."""
    return IN_QUERY.sub(r"\1...", USER_INFO.sub("", text))


@dataclass
class TrackerConfig:
    """Where runs are logged: Weights & Biases, ``offline`` or ``online``, another tracker, or nowhere."""

    name: str = not_hashed("wandb_offline")
    mode: str = not_hashed(choice("offline", ("offline", "online", "none", *LOGGERS)))
    project: str = not_hashed("unsir-bench")
    entity: str | None = not_hashed(None)
    uri: str | None = not_hashed(None)

    def check(self, key: str) -> Iterator[str]:
        """What the tracker needs and this installation lacks, and an address that it cannot have."""
        for module in LOGGERS.get(self.mode, ()):
            if find_spec(module) is None:
                yield (
                    f"{key}.mode={self.mode}: {module} is not installed; {install_words('trackers')}, "
                    "or choose tracker=none"
                )
        if self.uri is None:
            return
        if wrong := list(self.password_problems()):
            yield from wrong
        elif self.mode != "mlflow":
            yield f"{key}.uri={self.uri}: only tracker=mlflow has an address; leave it out"

    def password_problems(self) -> Iterator[str]:
        """A line if records, which hold the configuration and are shared, would show a password."""
        if holds_password(self.uri or ""):
            yield f"tracker.uri: {IN_EACH_RECORD}"

    @property
    def uses_wandb(self) -> bool:
        """Whether a run imports Weights & Biases."""
        return self.mode in ("offline", "online")
