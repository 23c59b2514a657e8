"""Devices that this machine lacks, as their compilers want them described.

Two compilers from PyPI serve them: libtpu, and CUDA's plug-in for JAX with `ptxas`. Neither needs
a device, a driver, cuDNN or cuBLAS to compile.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# The smallest slice of which XLA knows the topology; what is compiled runs on one chip of it.
TPUS = {"v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}
_PTXAS = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?"
    r"(?P<store>\d+) bytes spill stores, (?P<load>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?:[^\n]*?(?P<shared>\d+) bytes smem)?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Gpu:
    """What XLA has to know of a GPU (CUDA C++ Programming Guide, table of compute capabilities).

    Args:
        capability: major and minor.
        cores: streaming multiprocessors.
        threads: most of them that one multiprocessor holds.
        blocks: likewise.
        shared_bytes: shared memory of a multiprocessor.
        l2_bytes: second-level cache.
        memory_bytes: of the device.
        accelerated: whether code may use the features that only this architecture has.
    """

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
    "sm_80": Gpu((8, 0), 108, 2048, 32, 167936, 40 * 2**20, 80 * 2**30, accelerated=False),
    "sm_87": Gpu((8, 7), 16, 1536, 16, 167936, 4 * 2**20, 32 * 2**30, accelerated=False),
    "sm_90a": Gpu((9, 0), 132, 2048, 32, 233472, 50 * 2**20, 80 * 2**30, accelerated=True),
}


@dataclass(frozen=True)
class Entry:
    """What `ptxas` says of one kernel.

    Args:
        name: of its entry function.
        registers: of a thread.
        spilled_bytes: stored to and loaded from slow memory, for want of registers.
        shared_bytes: shared memory whose size the code fixes.
    """

    name: str
    registers: int
    spilled_bytes: int
    shared_bytes: int


@cache
def topology_device(target: str) -> Any:
    """A device to compile for, not to run on.

    Args:
        target: a key of `TPUS` or `GPUS`.
    """
    from jax.experimental.topologies import get_topology_desc

    if target in TPUS:
        return get_topology_desc(TPUS[target], platform="tpu").devices[0]
    config = GPUS[target].config()
    return get_topology_desc(platform="cuda", topology="1x1x1", target_config=config).devices[0]


def kind_of(target: str) -> str:
    """A target as `kernels.dispatch.device_kind` names it."""
    if target in TPUS:
        return topology_device(target).device_kind
    return target.removesuffix("a")


def assemble(paths: Sequence[Path], target: str) -> Iterator[Entry]:
    """Put PTX files through `ptxas`.

    Raises:
        subprocess.CalledProcessError: it refuses one.
    """
    # The file that holds constants alone names no target.
    files = [path for path in paths if ".target" in path.read_text()]
    if files:
        command = [_ptxas(), "-v", f"-arch={target}", *files, "-o", os.devnull]
        yield from read_ptxas(
            subprocess.run(command, capture_output=True, text=True, check=True).stderr
        )


def read_ptxas(said: str) -> Iterator[Entry]:
    """What `ptxas -v` says of the kernels in its output."""
    for match in _PTXAS.finditer(said):
        spilled = int(match["store"]) + int(match["load"])
        shared = int(match["shared"] or 0)
        yield Entry(match["name"], int(match["registers"]), spilled, shared)


@cache
def _ptxas() -> Path:
    found = find_spec("nvidia.cu13")
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (program := Path(folder) / "bin" / "ptxas").is_file():
            return program
    return Path("ptxas")
