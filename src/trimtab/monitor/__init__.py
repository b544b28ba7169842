"""The doctor: reads what a run records, finds what is wrong with it, and says what to do."""
