"""The doctor beside training loops of others, one program a file."""
