"""Compile the Pallas kernels ahead of time, for devices that this machine lacks.

    python -m kernels.aot --target sm_90a          # or sm_80, sm_87, v5e, v5p, v6e

GPU code goes on to `ptxas`, which tells registers and spills; a few spilled registers are its way
to one more block on a multiprocessor. A TPU's compiler tells no more than the fast memory that a
kernel takes. A target's compiler must be installed: `.ci/kernels` does that.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from time import monotonic

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import SingleDeviceSharding
from rich.console import Console
from rich.table import Table

from kernels.dispatch import platform
from kernels.inventory import Spec, specs
from kernels.targets import GPUS, TPUS, assemble, kind_of, topology_device

# Of a GPU's products XLA's own kernels, which it chooses by trying them, were the faster ones.
PALLAS_OPERATIONS = {"gpu": ("depthwise_conv",), "tpu": ("depthwise_conv", "pointwise_conv")}
# Four registers, stored and loaded.
_FEW_BYTES = 32


@dataclass(frozen=True)
class Kernel:
    """What a compiler says of one kernel; None where it says nothing."""

    name: str
    registers: int | None
    spilled_bytes: int | None
    vmem_bytes: int | None


def compiled(
    target: str, call: Callable[..., tuple[Array, ...]], shapes: list[jax.ShapeDtypeStruct]
) -> list[Kernel]:
    """The Pallas kernels of a function, compiled for a target.

    Args:
        target: a key of `TPUS` or `GPUS`.
        call: the function; not jitted before.
        shapes: of its operands.
    """
    here = SingleDeviceSharding(topology_device(target))
    placed = [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here) for a in shapes]
    name = "tpu" if target in TPUS else "gpu"
    with platform(name, kind_of(target)), tempfile.TemporaryDirectory() as dump:
        lowered = jax.jit(call).lower(*placed)
        if target in TPUS:
            return list(_tpu_kernels(lowered.compile().as_text() or ""))
        lowered.compile({"xla_dump_to": dump, "xla_gpu_autotune_level": "0"})
        entries = assemble(sorted(Path(dump).glob("*.ptx")), target)
        return [
            Kernel(entry.name, entry.registers, entry.spilled_bytes, None)
            for entry in entries
            if "conv" in entry.name
        ]


def _tpu_kernels(text: str) -> Iterator[Kernel]:
    for line in text.splitlines():
        if 'custom_call_target="tpu_custom_call"' in line:
            name = line.split("=")[0].strip().lstrip("%")
            scoped = re.search(r'"used_scoped_memory_configs":\[.*?"size":"(\d+)"', line)
            yield Kernel(name, None, None, int(scoped[1]) if scoped else None)


def both_ways(spec: Spec, batch: int, dtype: str) -> tuple[Callable[..., tuple[Array, ...]], list]:
    """A shape with bias and activation, and without them its gradients: all kernels there are."""
    operands = jax.eval_shape(lambda: spec.operands(batch, jax.random.key(0)))
    out = jax.eval_shape(spec.call("reference"), *operands)
    # The target's own, by `platform`.
    call = partial(spec.call("reference"), implementation=None)

    def run(g: Array, bias: Array, *operands: Array) -> tuple[Array, ...]:
        y, pull_back = jax.vjp(call, *operands)
        return (y, *pull_back(g), call(*operands, bias=bias, activation="hswish"))

    shapes = [out.shape, out.shape[-1:], *(a.shape for a in operands)]
    return run, [jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for shape in shapes]


def main() -> None:
    """Parse the arguments, compile, print; exit with 1 if a compile fails or much is spilled."""
    parser = argparse.ArgumentParser(prog="python -m kernels.aot", description=__doc__)
    parser.add_argument("--target", choices=[*GPUS, *TPUS], required=True)
    parser.add_argument("--op", choices=PALLAS_OPERATIONS["tpu"], action="append")
    parser.add_argument("--batch", type=int, default=32, help="images (default: %(default)s)")
    parser.add_argument("--every", type=int, default=1, help="take one shape of so many")
    arguments = parser.parse_args()
    columns = ("kernel", "registers", "spilled bytes", "VMEM bytes")
    table = Table("shape", "type", *columns, title=f"compiled for {arguments.target}")
    known = PALLAS_OPERATIONS["tpu" if arguments.target in TPUS else "gpu"]
    for op in set(arguments.op or ()) - set(known):
        parser.error(f"--op {op}: {arguments.target} has no Pallas kernel for it")
    chosen = [s for op in arguments.op or known for s in specs(op)[:: arguments.every]]
    jobs = list(product(chosen, ("float32", "bfloat16")))
    broken, began, log = 0, monotonic(), Console(stderr=True)
    for done, (spec, dtype) in enumerate(jobs, 1):
        try:
            kernels = compiled(arguments.target, *both_ways(spec, arguments.batch, dtype))
        # Compilers raise what they like; the table shows it and the rest goes on.
        except Exception as error:
            broken += 1
            table.add_row(spec.name, dtype, f"failed: {str(error)[:400]}")
        else:
            spilled = max((kernel.spilled_bytes or 0 for kernel in kernels), default=0)
            broken += not kernels or spilled > _FEW_BYTES
            for kernel in kernels:
                figures = (kernel.registers, kernel.spilled_bytes, kernel.vmem_bytes)
                cells = ["" if n is None else str(n) for n in figures]
                table.add_row(spec.name, dtype, kernel.name, *cells)
        took = f"{done}/{len(jobs)} in {monotonic() - began:.0f} s, {broken} failed or spilled"
        log.print(f"{arguments.target}: {took}: {spec.name} {dtype}", soft_wrap=True)
    Console(width=140).print(table)
    sys.exit(f"{broken} failed or spilled" if broken else 0)


if __name__ == "__main__":
    main()
