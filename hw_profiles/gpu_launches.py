"""What a compiled function launches on a GPU, and how long each launch takes by a roofline.

The compiler tells for each kernel the blocks and threads, the registers and the shared memory;
from the HLO follow the bytes that go in and out and the FLOPs. No hardware is asked, so the time
is an estimate:

    launch + max(FLOPs / (peak * busy), bytes / (bandwidth * in flight))

`busy` is the share of the multiprocessors' time in which they have work (the last blocks leave some
idle), less where too few warps hide the latency of arithmetic. `in flight` is less than one where
the resident threads ask for too few bytes to fill the memory's pipeline (Little's law; Volkov 2016,
"Understanding Latency Hiding on GPUs"). Every operand is counted as read from memory once, though
small ones may still lie in the second-level cache.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, isqrt

from hw_profiles.device import Peak
from hw_profiles.hlo import Flops, Instruction, Module, convolution_taps
from kernels.targets import Entry, Gpu

# Warps on a multiprocessor that hide the latency of arithmetic: four schedulers, two each.
_HIDING_WARPS = 8
# What a thread has asked for at a time, and how long memory takes to answer.
_BYTES_PER_THREAD, _MEMORY_LATENCY_S = 16, 0.6e-6
_WARP = 32
# Registers are handed out to a warp in lots; a block's shared memory has a part for the system.
_REGISTER_LOT, _SHARED_SYSTEM_BYTES = 256, 1024
_THUNK = re.compile(r"^\s*(\d+): (k\w+)\s+\[[^]]*\] (\S*)(?: (grid: .*))?")
_GRID = re.compile(r"grid: \[([\d, ]+)\] threads: \[([\d, ]+)\]\s+shared_memory: (\d+)")
_ANNOTATION = re.compile(r'profile_annotation: "([^"]*)"\s+thunk_id: (\d+)')
_COMPOUND = frozenset(("kCommandBuffer", "kSequential"))


@dataclass(frozen=True, slots=True)
class Launch:
    """One thing that the GPU is told to do.

    Args:
        name: of the instruction.
        kind: a `kernel` that the compiler made, a `pallas` kernel, a call of a `library`
            (cuDNN, cuBLAS), or a `copy`.
        bytes: read and written.
        matrix_flops: for tensor cores.
        vector_flops: for the others.
        blocks: of threads; 0 where the library decides.
        threads: of a block.
        registers: of a thread.
        shared_bytes: of a block.
    """

    name: str
    kind: str
    bytes: int
    matrix_flops: int
    vector_flops: int
    blocks: int = 0
    threads: int = 0
    registers: int = 0
    shared_bytes: int = 0


def launches(
    module: Module, sequence: str, metadata: str, entries: Mapping[str, Entry]
) -> Iterator[Launch]:
    """All launches of a compiled function, in order.

    Args:
        module: its optimised HLO.
        sequence: XLA's dump `thunk_sequence.txt`.
        metadata: XLA's dump `thunk_metadata.txt`.
        entries: what `ptxas` said of each kernel, by name.

    Raises:
        ValueError: a launch of which nothing is known: it is not counted as free.
    """
    names = {int(number): name for name, number in _ANNOTATION.findall(metadata)}
    for line in sequence.splitlines():
        found = _THUNK.match(line)
        if found is None or found[2] in _COMPOUND:
            continue
        number, kind, entry, grid = int(found[1]), found[2], found[3], found[4]
        instruction = module.instructions.get(names.get(number, ""))
        if instruction is None:
            raise ValueError(f"{kind} {entry}: which instruction it belongs to is unknown")
        flops = _flops(module, instruction)
        known = (instruction.name, _kind(instruction), module.bytes(instruction))
        work = (flops.matrix, flops.vector)
        if grid is None:
            yield Launch(*known, *work)
            continue
        made = _GRID.search(grid)
        if made is None or entry not in entries:
            raise ValueError(f"{kind} {entry}: its grid or its registers are unknown")
        code = entries[entry]
        shared = int(made[3]) + code.shared_bytes
        yield Launch(*known, *work, _product(made[1]), _product(made[2]), code.registers, shared)


def launch_us(launch: Launch, gpu: Gpu, peak: Peak, dtype: str) -> float:
    """Microseconds that one launch takes, by the roofline.

    Args:
        launch: the launch.
        gpu: the device.
        peak: its published figures.
        dtype: of the operands, which decides on the tensor cores' rate.
    """
    busy, in_flight = occupancy(launch, gpu, peak.bandwidth_gbs * 1e9)
    compute_s = launch.matrix_flops / (peak.matrix_tflops[dtype] * 1e12)
    compute_s += launch.vector_flops / (peak.vector_tflops * 1e12)
    memory_s = launch.bytes / (peak.bandwidth_gbs * 1e9)
    return peak.launch_us + 1e6 * max(compute_s / busy, memory_s / in_flight)


def occupancy(launch: Launch, gpu: Gpu, bandwidth: float) -> tuple[float, float]:
    """Shares of the peak arithmetic and of the bandwidth that a launch can use.

    Args:
        launch: the launch; a library's is taken to use all.
        gpu: the device.
        bandwidth: bytes a second.
    """
    if not launch.blocks:
        return 1.0, 1.0
    resident = resident_blocks(launch, gpu)
    warps = -(-launch.threads // _WARP)
    per_core = ceil(launch.blocks / gpu.cores)
    balance = launch.blocks / (per_core * gpu.cores)
    at_once = min(per_core, resident)
    busy = balance * min(1.0, at_once * warps / _HIDING_WARPS)
    threads = min(launch.blocks, resident * gpu.cores) * launch.threads
    needed = bandwidth * _MEMORY_LATENCY_S
    return busy, min(1.0, threads * _BYTES_PER_THREAD / needed)


def resident_blocks(launch: Launch, gpu: Gpu) -> int:
    """Blocks that one multiprocessor holds at a time, at least one."""
    warps = -(-launch.threads // _WARP)
    lots = ceil(launch.registers * _WARP / _REGISTER_LOT) * _REGISTER_LOT * warps
    shared = launch.shared_bytes + _SHARED_SYSTEM_BYTES
    limits = (
        gpu.blocks,
        gpu.threads // (warps * _WARP),
        gpu.registers // lots if lots else gpu.blocks,
        gpu.shared_bytes // shared,
    )
    return max(1, min(limits))


def _kind(instruction: Instruction) -> str:
    if instruction.custom_call == "__gpu$xla.gpu.triton":
        return "pallas"
    if instruction.custom_call:
        return "library"
    return "copy" if instruction.op.startswith("copy") else "kernel"


def _flops(module: Module, instruction: Instruction) -> Flops:
    """Those of a custom call follow from its shapes."""
    target = instruction.custom_call
    if not target:
        return module.flops(instruction)
    shapes = [module.instructions[name].shapes[0] for name in instruction.operands]
    out = instruction.shapes[0].elements
    if target.startswith("__cudnn$conv"):
        return Flops(matrix=2 * out * convolution_taps(instruction, shapes[1]))
    if target.startswith("__cublas$"):
        # (m k) (k n) -> (m n)
        depth = isqrt(shapes[0].elements * shapes[1].elements // out)
        return Flops(matrix=2 * out * depth)
    if "/depthwise_conv/" in instruction.origin:
        # The weight is the second operand, with the taps in front.
        return Flops(vector=2 * out * shapes[1].sizes[0])
    raise ValueError(f"{instruction.name}: a call of {target} whose FLOPs are unknown")


def _product(text: str) -> int:
    x, y, z = map(int, text.split(","))
    return x * y * z
