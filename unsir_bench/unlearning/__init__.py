"""The contract of a method, and UNSIR."""
