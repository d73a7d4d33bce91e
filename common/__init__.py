"""What trainer, migrator, linearize and pipeline share and what knows nothing of any of them."""
