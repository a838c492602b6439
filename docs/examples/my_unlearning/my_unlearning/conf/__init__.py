"""YAML files of the method; Hydra reads YAML from packages only."""
