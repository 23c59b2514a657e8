"""Comparisons with other software on the same machine."""
