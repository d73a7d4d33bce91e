"""Whether to go on: accuracy now and to come, and labels that look wrong."""
