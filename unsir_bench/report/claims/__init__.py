"""The paper's claims, checked on records."""
