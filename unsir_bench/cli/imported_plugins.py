"""Imports every plug-in, in the server that runs are forked from; the command itself names one that fails."""

from unsir_bench.cli.plugins import plugin_names
from unsir_bench.sweeps.isolation import import_present

import_present(plugin_names())
