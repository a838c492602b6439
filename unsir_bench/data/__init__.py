"""Data sets, the forget split, and batches on the device."""
