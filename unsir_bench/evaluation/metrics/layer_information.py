"""What each layer still knows of the forget classes: probes layer by layer, and the information difference index.

D. Jeon et al., "An Information Theoretic Metric for Evaluating Unlearning Models" (arXiv 2405.17878). With Y = whether
a sample is of a forget class and Z_l what layer l receives, the index compares the sums over layers of I(Z_l; Y) of the
unlearned, the original and the retrained model. The authors bound the information by a trained critic (InfoNCE); here
it is the information that a linear probe can use (Xu et al., "A Theory of Usable Information", ICLR 2020), so the
numbers are not those of the paper, while 0 (as retrained) and 1 (as the original) mean the same.
"""

from __future__ import annotations

import math

import numpy as np

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.feature_probe import ProbeSamples, fitted, forget_or_rest
from unsir_bench.evaluation.metrics.inputs import measured, whole_classes
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, Scores, metric

MOST_LAYERS = 5
MOST_PER_SIDE = 2000
# Sums over layers closer than this, in bits, leave nothing to divide by.
LEAST_DIFFERENCE = 0.01


def linear_information(samples: ProbeSamples, *, seed: int, most_per_side: int = MOST_PER_SIDE) -> tuple[float, float]:
    """Information that a linear probe gets from features on whether a sample is of a forget class, and its AUC.

    H(Y) - H(Y | Z), both sides weighing the same, so that H(Y) is 1 bit; H(Y | Z) is the probe's cross-entropy on test
    samples. A probe may ignore the features, so that less than 0 counts as 0.

    Args:
        samples: features and labels of both splits.
        seed: of the subsample.
        most_per_side: at most so many forget, and so many other, training samples.

    Returns:
        Bits in [0, 1], and the ROC AUC in [0, 1].

    Raises:
        MetricUnavailable: no forget or no other sample in a split; NaN or infinite features.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss, roc_auc_score
    from sklearn.utils.class_weight import compute_sample_weight

    data = forget_or_rest(samples, seed, most_per_side)
    if data.train.shape[1] == 0:
        return 0.0, 0.5
    probe = fitted(LogisticRegression(class_weight="balanced"), data.train, data.train_is_forget)
    truth, weight = data.test_is_forget, compute_sample_weight("balanced", data.test_is_forget)
    nats = log_loss(truth, probe.predict_proba(data.test)[:, 1], sample_weight=weight)
    auc = float(roc_auc_score(truth, probe.decision_function(data.test)))
    return float(np.clip(1 - nats / math.log(2), 0, 1)), auc


def information_difference(own: float, original: float, retrained: float) -> float:
    """(own - retrained) / (original - retrained), of sums over layers in bits: 0 as retrained, 1 as the original.

    Below 0 the model knows less of the classes than a retrained one, which is damage.

    Raises:
        MetricUnavailable: the original knows hardly more than the retrained model.
    """
    if original - retrained < LEAST_DIFFERENCE:
        raise MetricUnavailable(
            f"the original's layers hold {original:.3g} bits of the forget classes and the retrained model's "
            f"{retrained:.3g}: nothing was there to be forgotten"
        )
    return (own - retrained) / (original - retrained)


@metric(
    MetricCard(
        "layer_information_sum", "layer information, bits", "Jeon et al. 2024, by linear probes",
        range=(0.0, MOST_LAYERS), compared=True, scale=1.0,
    ),
    when="features", group="probes by layer",
)  # fmt: skip
def layer_information(inputs: MetricInputs) -> Scores:
    """Bits summed over layers; details: ``layer_information`` and ``layer_probe_auc`` by layer."""
    forget = whole_classes(inputs, "a probe tells forgotten classes from retained ones")
    received, labels = inputs.layers(MOST_LAYERS, MOST_PER_SIDE)
    if not received:
        raise MetricUnavailable("no layer but the first could be listened to")
    found = {
        layer: linear_information(
            ProbeSamples(by_split["train"], labels["train"], by_split["test"], labels["test"], forget), seed=inputs.seed
        )
        for layer, by_split in received.items()
    }
    return {
        "layer_information_sum": math.fsum(bits for bits, _ in found.values()),
        "layer_information": {layer: bits for layer, (bits, _) in found.items()},
        "layer_probe_auc": {layer: auc for layer, (_, auc) in found.items()},
    }


@metric(
    MetricCard(
        "information_difference_index", "IDI", "Jeon et al. 2024, by linear probes", "0", range=(-math.inf, math.inf),
        scale=1.0,
    ),
    when="features", summary=True, relative_to="retrain", group="probes by layer",
)  # fmt: skip
def information_difference_index(inputs: MetricInputs) -> float:
    """Of what the original's layers know beyond the retrained model's, the share that is left."""
    name = "layer_information_sum"
    return information_difference(*measured(inputs, name, f"original_{name}", f"retrain_{name}"))
