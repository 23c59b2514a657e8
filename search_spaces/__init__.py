"""Search spaces and the typed graph that everything else is derived from."""
