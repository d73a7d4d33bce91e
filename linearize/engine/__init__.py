"""The kernel engine: Θ from one tape of activations and gradients, by the cheapest exact method of every layer."""
