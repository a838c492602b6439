"""The diagonal of the Fisher information."""
