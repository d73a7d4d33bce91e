"""Labelling in Label Studio while the run goes on: each annotation is taken in as an answer on the page is."""
