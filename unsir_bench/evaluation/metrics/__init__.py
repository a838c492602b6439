"""Pure functions of logits, labels, parameters and features."""
