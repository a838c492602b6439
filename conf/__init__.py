"""The configuration groups, packaged as `unsir_bench.conf`."""
