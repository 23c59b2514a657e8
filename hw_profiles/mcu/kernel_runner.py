"""Single layers in the emulator: their constants in flash, tensors and scratch in RAM."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from hw_profiles.mcu.constants import constants, scratch_bytes
from hw_profiles.mcu.core import Core
from hw_profiles.mcu.counting import BlockCount
from hw_profiles.mcu.emulator import EmulationError, Emulator
from hw_profiles.mcu.layers import Layer
from hw_profiles.mcu.toolchain import Compiler, build, kernel_sources

_ALIGNMENT = 32
# Written around outputs and scratch, and looked for afterwards.
_GUARD = 0x5A


@dataclass(frozen=True, slots=True)
class Ran:
    """What a layer made, and the blocks that it ran."""

    output: np.ndarray
    blocks: Mapping[int, BlockCount]


class KernelRunner:
    """All kernels for a core, to be called one by one.

    Args:
        core: the core.
        simd: whether SIMD kernels are taken where there are any; those of the core if not given.
        compiler: that builds them.

    Raises:
        InputError: a compiler or the extra `mcu` is missing.
    """

    def __init__(self, core: Core, *, simd: bool | None = None, compiler: Compiler = "zig") -> None:
        """Build the kernels and load them."""
        self.simd = core.simd if simd is None else simd
        sources = kernel_sources(core, simd=self.simd)
        define = () if self.simd else ("HWNAS_PORTABLE",)
        self.emulator = Emulator(core, build(sources, core, compiler=compiler, define=define))

    def run(self, layer: Layer, *inputs: np.ndarray, below: int | None = None) -> Ran:
        """Call the layer's kernel.

        Args:
            layer: any of them.
            inputs: int8, as many as it reads.
            below: bytes by which the output starts below the first input, over which it then lies;
                apart from it if not given.

        Raises:
            EmulationError: the kernel wrote beyond its output or scratch, or read where nothing is.
        """
        emulator = self.emulator
        params = self._write_constants(layer)
        place = emulator.free_ram + _aligned(below or 0)
        places = []
        for one in inputs:
            emulator.write(place, np.ascontiguousarray(one))
            places.append(place)
            place = _aligned(place + one.size)
        out_bytes = int(np.prod(layer.out_shape))
        scratch = scratch_bytes(layer, simd=self.simd)
        if below is not None:
            out = places[0] - below
        else:
            out, place = place, _aligned(place + out_bytes + 1)
        guarded = [
            (place + scratch, 16),
            (out + out_bytes, 0 if below is not None else place - out - out_bytes),
        ]
        for start, size in guarded:
            emulator.write(start, bytes([_GUARD]) * size)
        blocks = emulator.call(f"hwnas_{layer.op}", params, *places, out, place)
        for start, size in guarded:
            if (emulator.read(start, size) != _GUARD).any():
                raise EmulationError(f"{layer.op}: wrote beyond its output or scratch")
        return Ran(emulator.read(out, out_bytes).reshape(layer.out_shape), blocks)

    def _write_constants(self, layer: Layer) -> int:
        """Put the layer's struct and arrays into flash; the struct's address."""
        place, words = self.emulator.free_flash, []
        for value in constants(layer, simd=self.simd).values():
            if isinstance(value, int):
                words.append(value)
                continue
            self.emulator.write(place, np.ascontiguousarray(value))
            words.append(place)
            place = _aligned(place + value.nbytes)
        packed = np.array([word & 0xFFFFFFFF for word in words], np.uint32)
        self.emulator.write(place, packed)
        return place


@cache
def runner(core: Core, simd: bool, compiler: Compiler = "zig") -> KernelRunner:
    """The kernels of a core, built and loaded once a process."""
    return KernelRunner(core, simd=simd, compiler=compiler)


def _aligned(place: int) -> int:
    return -(-place // _ALIGNMENT) * _ALIGNMENT
