"""Checking a run as a whole: every hash, binding and number of its record and of what was derived from it."""
