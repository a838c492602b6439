"""YAML files of the methods; Hydra finds them in a package only."""
