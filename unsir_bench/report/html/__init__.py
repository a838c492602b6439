"""The page of `make report`."""
