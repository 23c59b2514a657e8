"""SIMD against portable C: cycles for each multiply-accumulate of typical kernels, by core.

    python -m experiments.benchmarks.mcu_kernels [--core cortex_m7] [--json]

Cycles of the issue model, memory never waits; kernels without multiply-accumulates are counted by
the bytes that they read. No board takes part, so the figures are simulated. Cores without the DSP
extension have portable kernels only. `ours` is what the product takes on that core.
"""

import argparse
import json
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hw_profiles.device import Mcu
from hw_profiles.mcu import random_layers as draw
from hw_profiles.mcu.core import CORES
from hw_profiles.mcu.layers import AveragePool, GlobalPool, Layer, Quantization, Softmax, Window
from hw_profiles.mcu.simulate import Simulator


def kernels() -> Mapping[str, Layer]:
    """Layers of small networks, by a name that tells their shape."""
    rng = np.random.default_rng(0)

    def same(size: int, kernel: int, stride: int = 1) -> Window:
        return Window.same((size, size), (kernel, kernel), (stride, stride))

    return {
        "conv 3x3/2 48x48x3 -> 16": draw.conv(rng, same(48, 3, 2), 3, 16),
        "conv 3x3 20x20x16 -> 32": draw.conv(rng, same(20, 3), 16, 32),
        "pointwise 20x20x48 -> 16": draw.pointwise(rng, 400, 48, 16),
        "pointwise 10x10x144 -> 24": draw.pointwise(rng, 100, 144, 24),
        "depthwise 3x3 20x20x48": draw.depthwise(rng, same(20, 3), 48),
        "depthwise 3x3/2 20x20x48": draw.depthwise(rng, same(20, 3, 2), 48),
        "depthwise 5x5 10x10x120": draw.depthwise(rng, same(10, 5), 120),
        "depthwise 7x7 5x5x240": draw.depthwise(rng, same(5, 7), 240),
        "fully connected 160 -> 10": draw.fully_connected(rng, 160, 10),
        "average pool 2x2 20x20x16": AveragePool(same(20, 2, 2), 16),
        "global pool 7x7x160": GlobalPool(49, 160),
        "add 4000": draw.add(rng, 4000),
        "multiply 10x10x40": draw.multiply(rng, 100, 40),
        "table 4000": draw.table(rng, 4000),
        "softmax 10": Softmax(10, Quantization(0.1)),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--core", action="append", choices=list(CORES))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    chosen = args.core or list(CORES)
    rows: list[dict[str, Any]] = []
    for core in chosen:
        mcu = Mcu(core=core, clock_mhz=1, source="cycles only")
        for simd in sorted({CORES[core].simd, False}, reverse=True):
            simulator = Simulator(mcu, simd=simd)
            for name, layer in kernels().items():
                work = layer.macs or prod(layer.in_shape)
                cycles = simulator.time(layer).core_cycles / work
                rows.append(_row(f"{core} {name}", simd == CORES[core].simd, cycles))
    if args.json:
        environment = {
            core: Simulator(Mcu(core=core, clock_mhz=1, source="")).runtime for core in chosen
        }
        print(json.dumps({"benchmark": "mcu_kernels", "rows": rows, "environment": environment}))
        return
    table = Table("kernel", "ours", "portable C", "ratio")
    values = {(row["task"], row["method"]): row["mean"] for row in rows}
    for task in dict.fromkeys(row["task"] for row in rows):
        ours = values[task, "ours"]
        portable = values.get((task, "portable"), ours)
        table.add_row(task, f"{ours:.2f}", f"{portable:.2f}", f"{portable / ours:.2f}")
    Console(width=100).print(table)


def _row(task: str, ours: bool, cycles: float) -> dict[str, Any]:
    return {
        "task": task,
        "method": "ours" if ours else "portable",
        "baseline": not ours,
        "n": 1,
        "metric": "cycles_per_mac",
        "mean": cycles,
        "std": 0.0,
        "seeds": 1,
    }


if __name__ == "__main__":
    main()
