"""How probable a model still finds the forgotten classes: a class that is merely outvoted keeps some probability."""

from unsir_bench import MetricCard, MetricInputs, MetricUnavailable, metric


@metric(MetricCard("forget_confidence", title="forget confidence %", source="this example", compared=True))
def forget_confidence(inputs: MetricInputs) -> float:
    """Mean softmax probability of the true class over the test samples of the forget classes, in [0, 1]."""
    labels = inputs.labels("forget_test")
    if len(labels) == 0:
        raise MetricUnavailable("there is no forget sample in the test split")
    probabilities = inputs.logits("forget_test").softmax(dim=1)
    return probabilities.gather(1, labels[:, None]).mean().item()
