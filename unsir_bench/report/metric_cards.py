"""A card for each metric: what it is called, what would be ideal, when two values count as the same, when to beware.

For nearly every metric the ideal is what retraining gives, not zero or one: a model that is *worse* than a retrained
one on forgotten samples has been damaged in a way that can itself be told, and attacked. docs/metrics.md has the
formulas.
"""

from __future__ import annotations

from dataclasses import dataclass

RETRAIN = "retrain's value"


@dataclass(frozen=True)
class MetricCard:
    """How to read one field of a record.

    Attributes:
        field: its name in the record.
        title: for table heads.
        ideal: the best value, in words.
        minimum_margin: the smallest gap to retrain, in the metric's unit, that anybody would call a gap.
        overshoot: what a value that lies beyond the ideal means; empty where that cannot happen.
        overshoots: -1 where values below retrain's overshoot, +1 where values above do, 0 where neither.
        scale: from the record's unit to the table's.
    """

    field: str
    title: str
    ideal: str = RETRAIN
    minimum_margin: float = 0.01
    overshoot: str = ""
    overshoots: int = 0
    scale: float = 100.0


CARDS = (
    MetricCard("acc_forget_test", "A_Df %", overshoot="below retrain's: over-forgotten", overshoots=-1),
    MetricCard("acc_retain_test", "A_Dr %"),
    MetricCard(
        "mia_loss_accuracy",
        "MIA (loss) %",
        minimum_margin=0.02,
        overshoot="attack below retrain's: losses of forgotten samples give them away the other way round",
        overshoots=-1,
    ),
    MetricCard("mia_svc_member_share", "MIA (SVC) %", minimum_margin=0.02),
    MetricCard(
        "probe_linear_auc",
        "linear probe AUC %",
        minimum_margin=0.01,
        overshoot="features separate forgotten samples worse than retrain's: features were damaged",
        overshoots=-1,
    ),
    MetricCard("probe_knn_auc", "kNN probe AUC %"),
    MetricCard(
        "retention_forget_accuracy",
        "retention %",
        minimum_margin=0.02,
        overshoot="a new head learns the forgotten classes worse than on retrain's features: features were damaged",
        overshoots=-1,
    ),
    MetricCard("zrf", "ZRF", minimum_margin=0.01, scale=1.0),
    MetricCard("forget_prediction_entropy", "entropy", minimum_margin=0.02, scale=1.0),
)
