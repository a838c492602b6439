"""`python -m unsir_bench` is `unsir-bench`."""

from unsir_bench.cli import main

main()
