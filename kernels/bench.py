"""Compare the implementations of an operation on this machine: `python -m kernels.bench`.

With `--peer torch` PyTorch computes the same, by oneDNN or cuDNN; it must be installed for that.
On a GPU the times are those of its kernels, whatever the host takes to start them.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from rich.console import Console
from rich.table import Table

from kernels.allocator import relaunch
from kernels.device_time import device_ms
from kernels.inventory import OPERATIONS, Spec, specs

_BASELINE = "reference"
_SETTLE_S, _WARM_S, _ENOUGH_S = 0.1, 0.2, 1.0

Case = tuple[str, str]
Key = TypeVar("Key")
# Called with a spec and its operands.
Peer = Callable[[Spec, tuple[Array, ...]], tuple[Callable[[], Any], Callable[[], Any]] | None]


@dataclass(frozen=True)
class Row:
    """Times of one implementation at one shape; the ratios are of the baseline's time to its."""

    spec: str
    implementation: str
    forward_ms: float
    both_ms: float
    forward_ratio: float
    both_ratio: float
    forward_gflops: float
    forward_gbytes: float


@dataclass(frozen=True)
class Limits:
    """What the machine reaches in a large matrix product, and in copying a large array."""

    gflops: float
    gbytes: float

    def share(self, row: Row) -> float:
        """The least time that a forward pass needs on the machine, as a share of what it took.

        Williams et al., "Roofline", CACM 2009.
        """
        return max(row.forward_gflops / self.gflops, row.forward_gbytes / self.gbytes)


def limits(runs: int = 5, dtype: str = "float32") -> Limits:
    """Measure them on the default device; last, as steps after it found the heap in pieces."""
    side, size = 2048 if jax.default_backend() == "cpu" else 8192, 1 << 26
    square = jax.random.normal(jax.random.key(0), (side, side), dtype)
    line = jnp.ones(size)
    product, copy = partial(jax.jit(jnp.dot), square, square), partial(jax.jit(jnp.negative), line)
    ms = times_ms({"dot": product, "copy": copy}, runs)
    return Limits(2 * side**3 / ms["dot"] / 1e6, 2 * 4 * size / ms["copy"] / 1e6)


def measure(
    spec: Spec, batch: int, runs: int, peer: Peer | None = None, dtype: str = "float32"
) -> list[Row]:
    """Time every implementation that can run, in turns so that a busy moment hits them alike.

    Args:
        spec: the shape.
        batch: images.
        runs: timed runs of each, fewer of slow ones.
        peer: another library's forward pass and forward with backward, for the spec's operands; or
            None where it has no such operation.
        dtype: of the operands.
    """
    operands = tuple(x.astype(dtype) for x in spec.operands(batch, jax.random.key(0)))
    calls: dict[Case, Callable[[], Any]] = {}
    for name in spec.operation.here():
        run = spec.call(name)
        try:
            out = jax.eval_shape(run, *operands)
        except NotImplementedError:
            continue
        forward = partial(jax.jit(run), *operands)
        ones = jnp.ones(out.shape, dtype)
        backward = partial(jax.jit(partial(_gradients, run)), ones, *operands)
        calls[name, "forward"] = forward
        calls[name, "both"] = partial(_in_turn, forward, backward)
    theirs = peer(spec, operands) if peer else None
    if theirs is not None:
        calls["peer", "forward"], calls["peer", "both"] = theirs
    took_ms = times_ms(calls, runs, _SETTLE_S if theirs else 0.0, _WARM_S, _ENOUGH_S)
    names = dict.fromkeys(name for name, _ in calls)
    return [_row(spec, batch, name, took_ms, jnp.dtype(dtype).itemsize) for name in names]


def times_ms(calls: Mapping[Key, Callable[[], Any]], runs: int, *about: float) -> dict[Key, float]:
    """Milliseconds of the kernels of each call on a GPU; elsewhere as `medians`."""
    if jax.default_backend() == "gpu":
        return device_ms(calls, runs)
    return medians(calls, runs, *about)


def medians(
    calls: Mapping[Key, Callable[[], Any]],
    runs: int,
    settle_s: float = 0.0,
    warm_s: float = 0.0,
    enough_s: float = math.inf,
) -> dict[Key, float]:
    """Median milliseconds of each call, all of them once a run, after one that compiles.

    Args:
        calls: what is timed, until its result is ready.
        runs: timed runs.
        settle_s: seconds before each call: another library's threads may wait awake for more.
        warm_s: seconds of untimed calls after that, so that threads, clock and caches are as in the
            middle of a training step.
        enough_s: a call that was timed for so long in all is not timed again.
    """
    for call in calls.values():
        jax.block_until_ready(call())
    samples: dict[Key, list[float]] = {case: [] for case in calls}
    for _ in range(runs):
        for case, call in calls.items():
            if sum(samples[case]) > enough_s * 1e3:
                continue
            time.sleep(settle_s)
            warm = time.perf_counter() + warm_s
            while time.perf_counter() < warm:
                jax.block_until_ready(call())
            start = time.perf_counter()
            jax.block_until_ready(call())
            samples[case].append((time.perf_counter() - start) * 1e3)
    return {case: statistics.median(times) for case, times in samples.items()}


def _gradients(run: Callable[..., Array], g: Array, *operands: Array) -> tuple[Array, ...]:
    return jax.vjp(run, *operands)[1](g)


def _in_turn(forward: Callable[[], Array], backward: Callable[[], Any]) -> Any:
    # As in a training step: in one program of both, XLA would run them at the same time.
    return jax.block_until_ready(forward()), backward()


def _row(spec: Spec, batch: int, name: str, took_ms: dict[Case, float], itemsize: int) -> Row:
    forward, both = took_ms[name, "forward"], took_ms[name, "both"]
    return Row(
        spec=spec.name,
        implementation=name,
        forward_ms=forward,
        both_ms=both,
        forward_ratio=took_ms[_BASELINE, "forward"] / forward,
        both_ratio=took_ms[_BASELINE, "both"] / both,
        forward_gflops=spec.flops(batch) / forward / 1e6,
        forward_gbytes=spec.bytes(batch) * itemsize / 4 / forward / 1e6,
    )


def _table(operation: str, rows: list[Row], batch: int, limit: Limits) -> Table:
    device = jax.devices()[0].device_kind
    about = f"limit {limit.gflops:.0f} GFLOP/s, {limit.gbytes:.0f} GB/s"
    title = f"{operation}, batch {batch}, {device}, {about}; x = times the {_BASELINE}"
    table = Table(title=title, caption="both: forward and backward; rates are of the forward pass")
    for heading in ("shape", "implementation"):
        table.add_column(heading)
    for heading in ("forward ms", "x", "both ms", "x", "GFLOP/s", "GB/s", "share"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = (row.forward_ms, row.forward_ratio, row.both_ms, row.both_ratio)
        rates = (row.forward_gflops, row.forward_gbytes)
        cells = [f"{value:.3g}" for value in figures] + [f"{value:.1f}" for value in rates]
        cells.append(f"{limit.share(row):.0%}")
        table.add_row(row.spec, row.implementation, *cells)
    return table


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m kernels.bench", description=__doc__)
    parser.add_argument("--op", choices=OPERATIONS, default=OPERATIONS[0])
    parser.add_argument("--batch", type=int, default=128, help="images (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=7, help="timed runs (default: %(default)s)")
    parser.add_argument("--only", default="", help="shapes whose name contains one of these")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--peer", choices=["torch"], help="time this library too")
    parser.add_argument("--json", action="store_true", help="rows as JSON on stdout")
    arguments = parser.parse_args()
    every = specs(arguments.op)
    wanted = arguments.only.split(",")
    chosen = [spec for spec in every if any(part in spec.name for part in wanted)]
    if not chosen:
        names = ", ".join(spec.name for spec in every)
        parser.error(f"--only {arguments.only}: no such shape; there are: {names}")
    relaunch()
    peer = import_module("kernels.bench_torch").peer if arguments.peer else None
    batch, runs, dtype = arguments.batch, arguments.runs, arguments.dtype
    rows = [row for spec in chosen for row in measure(spec, batch, runs, peer, dtype)]
    limit = limits(dtype=dtype)
    if arguments.json:
        shares = [{**asdict(row), "share_of_limit": limit.share(row)} for row in rows]
        found = {"limit": asdict(limit), "rows": shares}
        print(json.dumps(found, indent=1))  # noqa: T201
    else:
        Console().print(_table(f"{arguments.op}, {dtype}", rows, batch, limit))


if __name__ == "__main__":
    main()
