"""Compile the Pallas kernels ahead of time, for devices that this machine lacks.

    python -m kernels.aot --target sm_90a          # or sm_87, v5e, v6e

GPU code goes on to `ptxas`, which tells registers and spills; a TPU's compiler tells no more than
the fast memory that a kernel takes. A target's compiler must be installed: `.ci/kernels` does that.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental.topologies import get_topology_desc
from jax.sharding import SingleDeviceSharding
from rich.console import Console
from rich.table import Table

from kernels.dispatch import platform
from kernels.inventory import Spec, specs

PALLAS_OPERATIONS = ("depthwise_conv", "pointwise_conv")
TPUS = {"v5e": "v5e:2x2", "v6e": "v6e:2x2"}
_PTXAS = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?"
    r"(?P<store>\d+) bytes spill stores, (?P<load>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers",
    re.DOTALL,
)


@dataclass(frozen=True)
class Gpu:
    """What XLA has to know of a GPU (CUDA C++ Programming Guide, table of compute capabilities)."""

    capability: tuple[int, int]
    cores: int
    threads: int
    blocks: int
    shared_bytes: int
    l2_bytes: int
    memory_bytes: int
    accelerated: bool

    registers = 65536

    def config(self) -> str:
        """XLA's `GpuTargetConfigProto` as text."""
        major, minor = self.capability
        extension = "feature_extension: ACCELERATED_FEATURES" if self.accelerated else ""
        return f"""
            platform_name: "CUDA"
            gpu_device_info {{
              cuda_compute_capability {{ major: {major} minor: {minor} {extension} }}
              core_count: {self.cores} fpus_per_core: 128 clock_rate_ghz: 1.3
              threads_per_block_limit: 1024 threads_per_warp: 32
              threads_per_core_limit: {self.threads}
              shared_memory_per_block: 49152 shared_memory_per_core: {self.shared_bytes}
              shared_memory_per_block_optin: {self.shared_bytes - 1024}
              registers_per_core_limit: {self.registers} registers_per_block_limit: 65536
              block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
              l2_cache_size: {self.l2_bytes} device_memory_size: {self.memory_bytes}
              memory_bandwidth: 204800000000
              runtime_version: "13.0.0" driver_version: "13.0.0"
            }}"""


GPUS = {
    "sm_87": Gpu((8, 7), 16, 1536, 16, 167936, 4 * 2**20, 32 * 2**30, accelerated=False),
    "sm_90a": Gpu((9, 0), 132, 2048, 32, 233472, 50 * 2**20, 80 * 2**30, accelerated=True),
}


@dataclass(frozen=True)
class Kernel:
    """What a compiler says of one kernel; None where it says nothing."""

    name: str
    registers: int | None
    spilled_bytes: int | None
    vmem_bytes: int | None


@cache
def _device(target: str) -> Any:
    if target in TPUS:
        return get_topology_desc(TPUS[target], platform="tpu").devices[0]
    config = GPUS[target].config()
    return get_topology_desc(platform="cuda", topology="1x1x1", target_config=config).devices[0]


def kind_of(target: str) -> str:
    """A target as `kernels.dispatch.device_kind` names it."""
    return _device(target).device_kind if target in TPUS else target.removesuffix("a")


def compiled(
    target: str, call: Callable[..., tuple[Array, ...]], shapes: list[jax.ShapeDtypeStruct]
) -> list[Kernel]:
    """The Pallas kernels of a function, compiled for a target.

    Args:
        target: a key of `TPUS` or `GPUS`.
        call: the function; not jitted before.
        shapes: of its operands.
    """
    device = _device(target)
    here = SingleDeviceSharding(device)
    placed = [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here) for a in shapes]
    name = "tpu" if target in TPUS else "gpu"
    with platform(name, kind_of(target)), tempfile.TemporaryDirectory() as dump:
        lowered = jax.jit(call).lower(*placed)
        if target in TPUS:
            return list(_tpu_kernels(lowered.compile().as_text() or ""))
        lowered.compile({"xla_dump_to": dump, "xla_gpu_autotune_level": "0"})
        return [k for path in sorted(Path(dump).glob("*.ptx")) for k in _ptxas(path, target)]


def _tpu_kernels(text: str) -> Iterator[Kernel]:
    for line in text.splitlines():
        if 'custom_call_target="tpu_custom_call"' in line:
            name = line.split("=")[0].strip().lstrip("%")
            scoped = re.search(r'"used_scoped_memory_configs":\[.*?"size":"(\d+)"', line)
            yield Kernel(name, None, None, int(scoped[1]) if scoped else None)


def _ptxas(path: Path, target: str) -> Iterator[Kernel]:
    # The file that holds constants alone names no target.
    if ".target" not in path.read_text():
        return
    found = find_spec("nvidia.cu13")
    folders = found.submodule_search_locations if found else None
    program = Path(folders[0]) / "bin" / "ptxas" if folders else Path("ptxas")
    command = [program, "-v", f"-arch={target}", path, "-o", os.devnull]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    for match in _PTXAS.finditer(said):
        if "conv" in match["name"]:
            spilled = int(match["store"]) + int(match["load"])
            yield Kernel(match["name"], int(match["registers"]), spilled, None)


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
    """Parse the arguments, compile, print; exit with 1 if a compile fails or something spills."""
    parser = argparse.ArgumentParser(prog="python -m kernels.aot", description=__doc__)
    parser.add_argument("--target", choices=[*GPUS, *TPUS], required=True)
    parser.add_argument("--op", choices=PALLAS_OPERATIONS, action="append")
    parser.add_argument("--batch", type=int, default=32, help="images (default: %(default)s)")
    parser.add_argument("--every", type=int, default=1, help="take one shape of so many")
    arguments = parser.parse_args()
    columns = ("kernel", "registers", "spilled bytes", "VMEM bytes")
    table = Table("shape", "type", *columns, title=f"compiled for {arguments.target}")
    broken = 0
    for op in arguments.op or PALLAS_OPERATIONS:
        for spec in specs(op)[:: arguments.every]:
            for dtype in ("float32", "bfloat16"):
                try:
                    kernels = compiled(arguments.target, *both_ways(spec, arguments.batch, dtype))
                # Compilers raise what they like; the table shows it and the rest goes on.
                except Exception as error:
                    broken += 1
                    table.add_row(spec.name, dtype, f"failed: {str(error)[:400]}")
                    continue
                broken += not kernels
                for kernel in kernels:
                    broken += bool(kernel.spilled_bytes)
                    figures = (kernel.registers, kernel.spilled_bytes, kernel.vmem_bytes)
                    cells = ["" if n is None else str(n) for n in figures]
                    table.add_row(spec.name, dtype, kernel.name, *cells)
    Console(width=140).print(table)
    sys.exit(f"{broken} failed or spilled" if broken else 0)


if __name__ == "__main__":
    main()
