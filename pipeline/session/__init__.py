"""A person who labels: what a front end may ask, and the engine that answers it."""
