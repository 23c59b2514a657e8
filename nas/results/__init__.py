"""Runs as tables, for notebooks and the command line.

Example:
    >>> import nas.results
    >>> run = nas.results.open("runs/mbv3-cifar10")                           # doctest: +SKIP
    >>> run.pareto("accuracy", "latency_ms@cpu", where="macs < 1e6")          # doctest: +SKIP
"""

from nas.results.run import Results
from nas.results.run import open_run as open  # noqa: A004  reads as nas.results.open(...)

__all__ = ["Results", "open"]
