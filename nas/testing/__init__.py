"""Conformance suites: a new component inherits the tests of its kind in one line."""
