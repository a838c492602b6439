"""`python -m unsir_bench` is `unsir-bench`."""

from unsir_bench.cli import main

if __name__ == "__main__":  # processes of a sweep import this module under another name
    main()
