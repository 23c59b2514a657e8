"""Performance-critical operations, one folder each."""
