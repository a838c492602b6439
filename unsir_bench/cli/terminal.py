"""A command whose result is never lost to a letter that the terminal, or the locale, does not have."""

from __future__ import annotations

import io
import logging
import os
import sys


def read_names_as_utf8() -> None:
    """Start the command again in Python's UTF-8 mode where the locale has another encoding, such as ``LC_ALL=C``.

    File names and configurations would otherwise hold letters that no file can be written with.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"  # for the processes of a sweep too
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell is wanted


def log_to_terminal() -> None:
    """Tell on standard error how a command goes on that Hydra does not start, whose own log lines would show it."""
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s")


def print_any_letter() -> None:
    """Letters that the terminal does not have are printed as ``\\u732b``, and end nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
