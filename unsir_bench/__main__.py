"""The command `unsir-bench`, as `python -m unsir_bench`."""

from unsir_bench.cli.main import main

if __name__ == "__main__":  # processes of a sweep import this module under another name
    main()
