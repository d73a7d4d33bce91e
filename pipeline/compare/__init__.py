"""Strategies against one another: a grid of ordinary runs, by a local or a Ray engine."""
