"""The product: configuration, the active-learning loop over a run directory, strategies, and the command line."""
