"""Trained models and what else is computed once: the store."""
