"""The public API, imported where it is used: `import unsir_bench` alone takes no time, and imports no torch.

For who writes a method, a metric, a data set or a model, and for notebooks. `docs/add_a_method.md` shows it in use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unsir_bench.cli.bootstrap import compose
    from unsir_bench.cli.evaluate import evaluate
    from unsir_bench.config_fields import choice, number
    from unsir_bench.data.dataset import DatasetConfig, LabelledImages, RawData
    from unsir_bench.errors import DataError, MetricUnavailable, NotApplicable
    from unsir_bench.evaluation.metric_inputs import MetricInputs
    from unsir_bench.evaluation.registry import MetricCard, metric
    from unsir_bench.models.model import ModelConfig
    from unsir_bench.report.folders import load_records
    from unsir_bench.runner import run
    from unsir_bench.runs.checkpoint_scores import score_checkpoints
    from unsir_bench.runtime.progress import Progress
    from unsir_bench.training.context import RunContext
    from unsir_bench.training.epoch_batches import EpochBatches
    from unsir_bench.training.fit import Variation, fit
    from unsir_bench.training.recipe import Recipe
    from unsir_bench.unlearning.marked_samples import marked, told_apart
    from unsir_bench.unlearning.method import Access, UnlearningData, UnlearningMethod

_HOMES = {
    "runs.checkpoint_scores": ("score_checkpoints",),
    "cli.bootstrap": ("compose",),
    "cli.evaluate": ("evaluate",),
    "config_fields": ("choice", "number"),
    "data.dataset": ("DatasetConfig", "LabelledImages", "RawData"),
    "errors": ("DataError", "MetricUnavailable", "NotApplicable"),
    "evaluation.metric_inputs": ("MetricInputs",),
    "evaluation.registry": ("MetricCard", "metric"),
    "models.model": ("ModelConfig",),
    "report.folders": ("load_records",),
    "runner": ("run",),
    "runtime.progress": ("Progress",),
    "training.context": ("RunContext",),
    "training.epoch_batches": ("EpochBatches",),
    "training.fit": ("Variation", "fit"),
    "training.recipe": ("Recipe",),
    "unlearning.marked_samples": ("marked", "told_apart"),
    "unlearning.method": ("Access", "UnlearningData", "UnlearningMethod"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Access", "DataError", "DatasetConfig", "EpochBatches", "LabelledImages", "MetricCard", "MetricInputs",
    "MetricUnavailable", "ModelConfig", "NotApplicable", "Progress", "RawData", "Recipe", "RunContext",
    "UnlearningData", "UnlearningMethod", "Variation", "choice", "compose", "evaluate", "fit", "load_records", "marked",
    "metric", "number", "run", "score_checkpoints", "told_apart",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
