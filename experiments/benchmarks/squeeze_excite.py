"""What squeeze-and-excitation costs inside our kernels, and apart from them.

    python -m experiments.benchmarks.squeeze_excite
    taskset -c 1 python -m experiments.benchmarks.squeeze_excite --processor-time

Inverted residuals of `mobilenet_v3` on small images: `training` is the gradient with respect to
input and weights, with batch norm; `evaluation` the block with batch norm folded. `ours` multiplies
the factors in as the projection reads (training), or computes the whole block in one kernel
(evaluation, C++); `apart` is the same graph with an `identity` behind the product, which leaves the
product to XLA; `without` is the block without squeeze-and-excitation. All are timed in turns, on
random images; no data are read. On a busy machine the second form tells more: the processor's time
of one thread, which waiting for a core does not lengthen.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from kernels.allocator import relaunch
from search_spaces.convnets import divisible
from search_spaces.ir.builder import Builder, Tensor
from search_spaces.ir.graph import Graph
from search_spaces.ir.interpret import Params, apply, init
from search_spaces.ir.passes import fold_batchnorm, fold_params
from search_spaces.space import Knob, SearchSpace

_METHODS = ("ours", "apart", "without")
# Size of the map, channels in, in the middle and out, kernel, stride.
_SHAPES = (
    (14, 24, 72, 40, 5, 2),
    (14, 40, 160, 40, 3, 1),
    (7, 56, 336, 56, 5, 1),
    (4, 80, 480, 80, 5, 1),
)


@dataclass(frozen=True)
class Block(SearchSpace):
    """One inverted residual with h-swish."""

    edge: int
    inputs: int
    wide: int
    outputs: int
    kernel: int
    stride: int
    method: str
    name = "block"
    version = 1

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """The kernel, with one option."""
        return (Knob("kernel", (self.kernel,)),)

    def define(self, b: Builder) -> Tensor:
        """As `search_spaces.convnets.inverted_residual` draws it."""
        x = b.input("image", (self.edge, self.edge, self.inputs))
        with b.block("block"):
            y = b.batch_norm("expand_bn", b.pointwise("expand", x, self.wide))
            y = b.activation("expand_act", y, "hswish")
            y = b.depthwise("depthwise", y, int(b.pick("kernel")), self.stride)
            y = b.activation("depthwise_act", b.batch_norm("depthwise_bn", y), "hswish")
            if self.method != "without":
                y = b.squeeze_excite(y, divisible(self.wide // 4))
            if self.method == "apart":
                y = b.node("apart", "identity", (y,))
            return b.batch_norm("project_bn", b.pointwise("project", y, self.outputs))


def calls(shape: tuple[int, ...], batch: int) -> dict[tuple[str, str], Callable[[], Any]]:
    """What is timed, by use and method."""
    images = jax.random.normal(jax.random.key(0), (batch, shape[0], shape[0], shape[1]))
    out: dict[tuple[str, str], Callable[[], Any]] = {}
    for method in _METHODS:
        space = Block(*shape, method=method)
        graph = space.build(space.largest())
        params = init(graph, jax.random.key(1))

        def run(params: Params, images: jax.Array, graph: Graph = graph) -> tuple[Any, Any]:
            (y,), stats = apply(graph, params, {"image": images})
            return jnp.sum(jnp.square(y)), stats

        gradient = jax.jit(jax.grad(run, (0, 1), has_aux=True))
        folded = fold_batchnorm(graph)
        weights = fold_params(graph, params, gradient(params, images)[1])

        def infer(weights: Params, images: jax.Array, folded: Graph = folded) -> Any:
            return apply(folded, weights, {"image": images})[0]

        out["training", method] = partial(gradient, params, images)
        out["evaluation", method] = partial(jax.jit(infer), weights, images)
    return out


def rows(batch: int, runs: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """Median milliseconds of each, and how many times as long `apart` takes."""
    found = []
    for shape in _SHAPES:
        timed = calls(shape, batch)
        ms: dict[tuple[str, str], list[float]] = {case: [] for case in timed}
        for _ in range(runs):
            for case, call in timed.items():
                jax.block_until_ready(call())
                start = clock()
                jax.block_until_ready(call())
                ms[case].append((clock() - start) * 1e3)
        median = {case: statistics.median(samples) for case, samples in ms.items()}
        size, inputs, wide, outputs, kernel, stride = shape
        name = f"{size}x{size}x{inputs}_{wide}_{outputs}_k{kernel}_s{stride}"
        for (use, method), found_ms in median.items():
            ratio = median[use, "apart"] / found_ms
            row = {"task": f"{use} {name}", "method": method, "baseline": method != "ours"}
            found.append(row | {"n": runs, "metric": "ratio", "mean": ratio, "ms": found_ms})
    return found


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--runs", type=int, default=9, help="timed runs (default: %(default)s)")
    parser.add_argument("--processor-time", action="store_true", help="in place of elapsed time")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    relaunch()
    clock = time.process_time if arguments.processor_time else time.perf_counter
    found = rows(arguments.batch, arguments.runs, clock)
    if arguments.json:
        environment = {"device": jax.devices()[0].device_kind, "machine": platform.machine()}
        environment |= {"jax": jax.__version__, "batch": arguments.batch}
        out = {"benchmark": "squeeze_excite", "rows": found, "environment": environment}
        print(json.dumps(out, indent=1))
        return
    table = Table("task", "method", "ms", "apart / it", title=f"batch {arguments.batch}")
    for row in found:
        table.add_row(row["task"], row["method"], f"{row['ms']:.2f}", f"{row['mean']:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
