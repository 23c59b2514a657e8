"""Compare the implementations of an operation on this machine: `python -m kernels.bench`."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from rich.console import Console
from rich.table import Table

from kernels.inventory import OPERATIONS, Spec, specs

_BASELINE = "reference"


@dataclass(frozen=True)
class Row:
    """Medians of one implementation at one shape; the ratios are of the baseline's time to its."""

    spec: str
    implementation: str
    forward_ms: float
    both_ms: float
    forward_ratio: float
    both_ratio: float
    forward_gflops: float
    forward_gbytes: float


def measure(spec: Spec, batch: int, runs: int) -> list[Row]:
    """Time every implementation that can run, in turns so that a busy moment hits them alike.

    Args:
        spec: the shape.
        batch: images.
        runs: timed runs of each, after one that compiles.
    """
    operands = spec.operands(batch, jax.random.key(0))
    calls: dict[tuple[str, str], Callable[[], Array | tuple[Array, ...]]] = {}
    for name in spec.operation.here():
        run = spec.call(name)
        try:
            out = jax.eval_shape(run, *operands)
        except NotImplementedError:
            continue
        both = jax.jit(partial(_forward_and_gradients, run))
        calls[name, "forward"] = partial(jax.jit(run), *operands)
        calls[name, "both"] = partial(both, jnp.ones(out.shape), *operands)
    for call in calls.values():
        jax.block_until_ready(call())
    samples: dict[tuple[str, str], list[float]] = {case: [] for case in calls}
    for _ in range(runs):
        for case, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            samples[case].append((time.perf_counter() - start) * 1e3)
    median = {case: statistics.median(times) for case, times in samples.items()}
    names = dict.fromkeys(name for name, _ in calls)
    return [_row(spec, batch, name, median) for name in names]


def _forward_and_gradients(
    run: Callable[..., Array], g: Array, *operands: Array
) -> tuple[Array, ...]:
    y, pull_back = jax.vjp(run, *operands)
    return (y, *pull_back(g))


def _row(spec: Spec, batch: int, name: str, median_ms: dict[tuple[str, str], float]) -> Row:
    forward, both = median_ms[name, "forward"], median_ms[name, "both"]
    return Row(
        spec=spec.name,
        implementation=name,
        forward_ms=forward,
        both_ms=both,
        forward_ratio=median_ms[_BASELINE, "forward"] / forward,
        both_ratio=median_ms[_BASELINE, "both"] / both,
        forward_gflops=spec.flops(batch) / forward / 1e6,
        forward_gbytes=spec.bytes(batch) / forward / 1e6,
    )


def _table(operation: str, rows: list[Row], batch: int) -> Table:
    device = jax.devices()[0].device_kind
    table = Table(title=f"{operation}, batch {batch}, {device}; x = times the {_BASELINE}")
    for heading in ("shape", "implementation"):
        table.add_column(heading)
    for heading in ("forward ms", "x", "forward + backward ms", "x", "GFLOP/s", "GB/s"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = (row.forward_ms, row.forward_ratio, row.both_ms, row.both_ratio)
        rates = (row.forward_gflops, row.forward_gbytes)
        cells = [f"{value:.2f}" for value in figures] + [f"{value:.1f}" for value in rates]
        table.add_row(row.spec, row.implementation, *cells)
    return table


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m kernels.bench", description=__doc__)
    parser.add_argument("--op", choices=OPERATIONS, default=OPERATIONS[0])
    parser.add_argument("--batch", type=int, default=128, help="images (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=7, help="timed runs (default: %(default)s)")
    parser.add_argument("--only", default="", help="shapes whose name contains this")
    parser.add_argument("--json", action="store_true", help="rows as JSON on stdout")
    arguments = parser.parse_args()
    every = specs(arguments.op)
    chosen = [spec for spec in every if arguments.only in spec.name]
    if not chosen:
        names = ", ".join(spec.name for spec in every)
        parser.error(f"--only {arguments.only}: no such shape; there are: {names}")
    rows = [row for spec in chosen for row in measure(spec, arguments.batch, arguments.runs)]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))  # noqa: T201
    else:
        Console().print(_table(arguments.op, rows, arguments.batch))


if __name__ == "__main__":
    main()
