"""Changed copies of training rows."""
