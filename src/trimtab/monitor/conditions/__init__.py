"""One file a condition: what it looks for in a run's record, and what it says when it finds it."""
