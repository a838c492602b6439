"""The machine and the process: device, clock, seeds, progress."""
