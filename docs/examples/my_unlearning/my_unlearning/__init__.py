"""An unlearning method and a metric for unsir-bench: importing this package registers them."""

from my_unlearning.forget_confidence import forget_confidence
from my_unlearning.pull_to_mean import PullToMean

__all__ = ["PullToMean", "forget_confidence"]
