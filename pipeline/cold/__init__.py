"""Before there is any label: representatives of the samples to ask about first, and near-copies among them."""
