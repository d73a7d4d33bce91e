"""Finished runs against one another: tidy results, the statistics of a paired comparison, figures and one HTML page."""
