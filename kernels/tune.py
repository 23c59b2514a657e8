"""Find block sizes of the Pallas kernels: `python -m kernels.tune --op depthwise_conv`.

On a device every size is timed. For a device that is elsewhere (`--target`) the compiler is asked:
for a GPU, which size keeps most elements in flight on a multiprocessor without a spill; a TPU's
compiler estimates no cycles for Pallas kernels, so there the largest block that it accepts wins, as
it takes the fewest steps. Such an answer is an estimate and is labelled as one.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator, Mapping
from datetime import date
from importlib.resources import files
from itertools import product
from pathlib import Path

import jax

from kernels import tiles
from kernels.aot import GPUS, PALLAS_OPERATIONS, TPUS, both_ways, compiled, kind_of
from kernels.dispatch import device_kind
from kernels.inventory import Spec, specs

Sizes = Mapping[str, int]
# Of each implementation, what is tried: the product of all. Of equals the first is taken.
_TRIED: Mapping[tuple[str, str], Mapping[str, tuple[int, ...]]] = {
    ("depthwise_conv", "pallas_gpu"): {
        "length": (8, 4),
        "spans": (8, 16, 32),
        "channels": (32, 64),
        "warps": (4, 8),
        "gradient_spans": (8, 16, 32),
        "gradient_channels": (32, 64),
        "gradient_warps": (4, 8),
        "gradient_taps": (9, 25),
        "pixels": (64,),
    },
    ("pointwise_conv", "pallas_gpu"): {
        "rows": (32, 64, 128),
        "columns": (32, 64),
        "depth": (16, 32),
        "gradient_rows": (32, 64),
        "warps": (4, 8),
    },
    ("depthwise_conv", "pallas_tpu"): {
        "columns": (16, 8, 32),
        "block_kib": (3072, 2048, 6144),
        "vmem_kib": (16384, 32768),
    },
    ("pointwise_conv", "pallas_tpu"): {"rows": (256, 512, 1024, 2048)},
}
# What a program of the forward and of the weight gradient makes.
_TILE = {
    "depthwise_conv": (("pixels", "channels"), ("gradient_pixels", "channels")),
    "pointwise_conv": (("rows", "columns"), ("columns", "columns")),
}


def candidates(operation: str, implementation: str) -> Iterator[Sizes]:
    """All combinations that are tried."""
    tried = _TRIED[operation, implementation]
    for sizes in product(*tried.values()):
        yield dict(zip(tried, sizes, strict=True))


def timed_ms(spec: Spec, batch: int, sizes: Sizes, runs: int = 5) -> float:
    """Median time of forward and gradients on the default device."""
    call, shapes = both_ways(spec, batch, "float32")
    operands = [jax.numpy.ones(a.shape, a.dtype) for a in shapes]
    with tiles.use(sizes):
        run = jax.jit(call)
        jax.block_until_ready(run(*operands))
    samples = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(run(*operands))
        samples.append((time.perf_counter() - start) * 1e3)
    return statistics.median(samples)


def in_flight(operation: str, sizes: Sizes, target: str, spec: Spec, batch: int) -> float:
    """Elements in flight on a GPU's multiprocessor, mean of the kernels; 0 if one spills."""
    gpu = GPUS[target]
    with tiles.use(sizes):
        kernels = compiled(target, *both_ways(spec, batch, "float32"))
    threads = sizes["warps"] * 32
    found = []
    for kernel in kernels:
        if kernel.spilled_bytes or not kernel.registers:
            return 0.0
        # Registers are given to warps in portions of 256.
        registers = math.ceil(kernel.registers * 32 / 256) * 256 * sizes["warps"]
        programs = min(gpu.registers // registers, gpu.threads // threads, gpu.blocks)
        names = _TILE[operation]["weight_gradient" in kernel.name]
        found.append(programs * math.prod(sizes[name] for name in names))
    return statistics.geometric_mean(found) if all(found) else 0.0


def largest_block(sizes: Sizes, target: str, spec: Spec, batch: int) -> float:
    """Size of the blocks of maps if the TPU's compiler takes them, else 0."""
    try:
        with tiles.use(sizes):
            compiled(target, *both_ways(spec, batch, "float32"))
    except jax.errors.JaxRuntimeError:
        return 0.0
    return float(sizes.get("block_kib", sizes.get("rows", 0)))


def main() -> None:
    """Parse the arguments, try all sizes, write the best into the operation's `tiles.json`."""
    parser = argparse.ArgumentParser(prog="python -m kernels.tune", description=__doc__)
    parser.add_argument("--op", choices=PALLAS_OPERATIONS, required=True)
    parser.add_argument("--target", choices=[*GPUS, *TPUS], help="default: the device here, timed")
    parser.add_argument("--only", default="", help="shapes whose name contains this")
    parser.add_argument("--every", type=int, default=9, help="take one shape of so many")
    parser.add_argument("--batch", type=int, default=128, help="images (default: %(default)s)")
    arguments = parser.parse_args()
    op, target = arguments.op, arguments.target
    chosen = [spec for spec in specs(op) if arguments.only in spec.name][:: arguments.every]
    tpu = target in TPUS if target else jax.default_backend() == "tpu"
    if not target and jax.default_backend() == "cpu":
        parser.error("no accelerator here to time on; give a --target for the compiler's estimate")
    implementation = "pallas_tpu" if tpu else "pallas_gpu"
    how = f"timed on {device_kind()}" if not target else "compiler estimate: "
    if target:
        how += "largest block that compiles" if tpu else "elements in flight, no spills"
    scores: dict[tuple[tuple[str, int], ...], float] = {}
    for sizes in candidates(op, implementation):
        found = []
        for spec in chosen:
            if not target:
                found.append(1 / timed_ms(spec, arguments.batch, sizes))
            elif tpu:
                found.append(largest_block(sizes, target, spec, arguments.batch))
            else:
                found.append(in_flight(op, sizes, target, spec, arguments.batch))
        scores[tuple(sizes.items())] = statistics.geometric_mean(found) if all(found) else 0.0
        print(f"{scores[tuple(sizes.items())]:12.1f}  {sizes}")  # noqa: T201
    best = max(scores, key=lambda sizes: scores[sizes])
    kind = kind_of(target) if target else device_kind()
    entry = {"sizes": dict(best), "found": f"{date.today()}, {how}"}
    path = Path(str(files(f"kernels.{op}"))) / "tiles.json"
    document = json.loads(path.read_text())
    document[implementation][kind] = entry
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(f"{path}: {kind}: {entry}")  # noqa: T201


if __name__ == "__main__":
    main()
