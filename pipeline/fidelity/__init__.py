"""How far look-ahead can be trusted on a run: predicted changes of the outputs against those of real retraining."""
