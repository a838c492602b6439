"""UNSIR and its benchmark: reproducible class unlearning."""
