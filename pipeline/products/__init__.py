"""What a person takes away from a labelling run: labels, predictions, the network, and how to use them."""
