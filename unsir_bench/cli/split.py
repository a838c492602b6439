"""`unsir-bench split ... --output FILE`: the samples that a run would forget, as a file that anyone can share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from unsir_bench.cli.terminal import log_to_terminal


def split_command(words: Sequence[str]) -> int:
    """Write the samples that a configuration forgets, of all its steps together.

    Args:
        words: those of a run, and ``--output FILE``, whose suffix says how it is written.

    Returns:
        The exit status: 1 if the configuration or the file's name is wrong.
    """
    given, overrides = _parser().parse_known_args(words)
    log_to_terminal()

    from hydra.errors import HydraException

    from unsir_bench.errors import ConfigError, DataError
    from unsir_bench.runtime.printable import printable

    try:
        _refuse_place(given.output)
        print(_written(overrides, given.output))
    except (ConfigError, DataError, HydraException, OSError) as error:
        print(printable(str(error)), file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unsir-bench split",
        usage="%(prog)s dataset=digits forget=random_samples forget.share=0.1 seed=0 --output FILE.json",
        description="Write the samples that a run would forget, with the fingerprint of their data set. "
        "forget=indices forget.file=FILE forgets them.",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="ends in .json, .csv or .npy")
    return parser


def _refuse_place(output: Path) -> None:
    """Refuse a file that cannot be written before images are decoded.

    Raises:
        ConfigError: says why it cannot.
    """
    from unsir_bench.data.forget_samples import refuse_suffix
    from unsir_bench.errors import ConfigError
    from unsir_bench.runtime.files import unwritable

    refuse_suffix(output)
    reason = "it is a folder" if output.is_dir() else unwritable(output.parent)
    if reason:
        raise ConfigError([f"--output {output}: {reason}; choose another file"])


def _written(overrides: Sequence[str], output: Path) -> str:
    from unsir_bench.cli.bootstrap import compose
    from unsir_bench.config import validate
    from unsir_bench.data.forget_requests import splits_of
    from unsir_bench.data.forget_samples import IndexFile
    from unsir_bench.runtime.progress import Progress

    config = compose(overrides)
    validate(config)
    data = config.dataset.load(Progress())
    *_, (_, split) = splits_of(config.forget, data, config.dataset, config.seed)
    file = IndexFile(data.fingerprint, tuple(split.forget_train.tolist()), tuple(split.forget_test.tolist()))
    file.write(output)
    return f"written: {output} ({split.samples_in_words})"
