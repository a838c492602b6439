"""Unlearning methods for unsir-bench: importing this package makes them known."""

from my_unlearning.pull_to_mean import PullToMean

__all__ = ["PullToMean"]
