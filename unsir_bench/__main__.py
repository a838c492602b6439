"""The command `unsir-bench`, also as `python -m unsir_bench`: a mistake is shown before anything heavy is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exit with status 1 if it is wrong, or if any run failed."""
    if sys.argv[1:2] == ["sync"]:
        from unsir_bench.tracking.sync import sync_command

        sys.exit(sync_command(sys.argv[2:]))
    from unsir_bench.cli.main import main as command

    command()


if __name__ == "__main__":  # processes of a sweep import this module under another name
    main()
