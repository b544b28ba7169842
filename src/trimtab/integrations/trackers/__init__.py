"""Writers for the experiment trackers of others, one a file."""
