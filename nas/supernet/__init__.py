"""Once-for-all networks: one set of weights that serves every architecture of a space."""
