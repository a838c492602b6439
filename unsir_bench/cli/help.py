"""`unsir-bench --help`: what the command is for, its verbs, the groups to choose from, and examples."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from unsir_bench.cli.plugins import option_files

GROUPS = {
    "dataset": "the images",
    "model": "the network",
    "method": "how to forget",
    "train": "how the original and the retrained network are trained",
    "forget": "what to forget; or classes: forget.classes=[0,3]; or samples: forget=random_samples",
    "metrics": "what to measure",
    "hardware": "where to compute",
    "tracker": "Weights & Biases, MLflow or TensorBoard",
    "experiment": "presets that sweep, with -m",
    "scale": "the size at which presets of the paper's experiments run",
}
PAGE = """\
unsir-bench makes image classifiers forget classes, and measures how well they forget, what they retain, what it costs.

Usage: unsir-bench [VERB] [-m] [GROUP=OPTION ...] [KEY=VALUE ...]

Verbs
  (none)         do one run; with -m one run for each combination of comma-separated values
  split ...      write the samples that a run would forget to a file that others can use
  plan ...       say what a sweep would train, reuse and skip, and about how long it takes; starts nothing
  prepare ...    fetch the data and pretrained weights of a sweep, for machines that are not on the internet
  train ...      train the original and the retrained model of a run, at once where each has cores or a GPU of its own
  tune ...       choose a method's numbers on held-out training images; `settings=tuned` then uses them
  list WHAT      print a table of methods, datasets, models, metrics, experiments or forget
  sync [FOLDER]  upload finished offline runs to Weights & Biases
  reproduce ...  do runs again from their records, and say which metrics come out identical
  verify ...     check records for a submission: whole, unchanged, consistent, and one of them done again
  evaluate ...   add metrics to finished runs without unlearning again, or score models made elsewhere
  store VERB     ls, verify, prune, push or pull: list, check, tidy and share the store of trained models

Groups
{groups}

Examples
  unsir-bench method=unsir dataset=digits forget=single seed=0
  unsir-bench -m experiment=digits_demo
  unsir-bench plan method=unsir,retrain dataset=cifar10 seed=0,1,2

`unsir-bench --cfg job ...` prints the configuration of a run, every KEY in it; `--hydra-help` Hydra's own options."""


def help_page() -> str:
    """The page, with the options that this installation and its plug-ins have."""
    return PAGE.format(groups="\n".join(line for group in GROUPS for line in _described(group)))


def _described(group: str) -> Iterator[str]:
    options = ", ".join(option_files(group))
    yield f"  {group:<11}{GROUPS[group]}"
    yield from textwrap.wrap(options, 120, initial_indent=" " * 15, subsequent_indent=" " * 15, break_on_hyphens=False)
