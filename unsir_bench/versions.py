"""Version constants. Raise one when a change of the code alters what it names; CHANGELOG.md says which change did."""

from __future__ import annotations

SCHEMA_VERSION = 1


# Raise when a change of the code changes what the same configuration gives: older records are then not taken for it.
RESULTS_VERSION = 2


# Raise when a change of the code changes what the same configuration trains, or by much how long that takes: older
# entries are then left unused.
TRAINING_VERSION = 2


# Raise when a change of the code changes what the same settings compute: older entries are then left unused.
PRECOMPUTATION_VERSION = 3


# Raise when a change of the code changes what the same metrics give: stored scores of references are then left unused.
EVALUATION_VERSION = 1


CACHE_FORMAT = 1
