"""What happens within a run: its experiment, its record, when it is finished, and what is measured later."""
