"""What is read of a run afterwards: a paper's figures on the run's own networks and labels."""
