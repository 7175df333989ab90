"""A config in, a run directory out; and what is done with the network of a run."""
