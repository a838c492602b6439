"""Version constants. Raise one when a change of the code changes what it names; CHANGELOG.md names the one raised."""

from __future__ import annotations

# The fields of a record. Raising it makes older records unfinished; `records.READABLE` names those still reported.
SCHEMA_VERSION = 2
# What a configuration gives. Raising it changes every run id, so that all runs are done again.
RESULTS_VERSION = 2
# What a configuration with `forget.sequence` gives. Raising it changes the run ids of those alone.
SEQUENCE_VERSION = 2
# What methods that tell samples of a class apart give where no whole class is forgotten. Raising it changes the run ids
# of those alone.
SAMPLES_VERSION = 2
# What a configuration trains, or by much how long that takes. Raising it retrains every original and retrained model.
TRAINING_VERSION = 2
# What a method precomputes (a Fisher diagonal, an importance). Raising it computes each again.
PRECOMPUTATION_VERSION = 3
# What the metrics give. Raising it scores the reference models again.
# 4: attacks on samples of some classes compare with those classes alone; a sequence's speed-up is over all its
# retrainings; largest share and TV of a single retain class; JS of the smallest probabilities; LiRA of a model that is
# one of the shadows; retention of more than 50,000 samples.
EVALUATION_VERSION = 4
# The files of the decoded image cache. Raising it decodes every image folder again.
CACHE_FORMAT = 2
