"""Launching many runs: Hydra's grid, plans, processes."""
