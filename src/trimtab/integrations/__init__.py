"""What goes along with runs: the doctor beside loops of others, alerts, and the trackers of others."""
