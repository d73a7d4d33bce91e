"""One run: its directory and event log, the stages of a cycle, and the loop that goes from one to the next."""
