"""What is measured of a run beside its losses: cheap things at each step, dear ones now and then."""
