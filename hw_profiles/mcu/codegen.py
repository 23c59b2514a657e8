"""A whole network as C: constants, one call a layer in a planned arena, a test, how to build it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from string import Template

import numpy as np
from jaxtyping import Int8

from hw_profiles.mcu.arena import arena
from hw_profiles.mcu.constants import constants
from hw_profiles.mcu.core import find_core
from hw_profiles.mcu.emulator import Emulator
from hw_profiles.mcu.lower import Call, Int8Network
from hw_profiles.mcu.planner import Plan
from hw_profiles.mcu.toolchain import CSRC, FREESTANDING, Compiler, build

_TEMPLATES = CSRC / "export"
_A_LINE = 24
# Memory of the simulator (csrc/link.ld).
_FLASH_BYTES, _SRAM_BYTES = 32 << 20, 16 << 20


@dataclass(frozen=True)
class Sources:
    """The files of a network.

    Args:
        files: content by path inside the folder.
        plan: the arena that the code uses.
    """

    files: Mapping[str, bytes]
    plan: Plan


def generate(
    network: Int8Network,
    example: Int8[np.ndarray, "..."],
    *,
    flash_bytes: int | None = None,
    sram_bytes: int | None = None,
) -> Sources:
    """The network as C files, for cores with and without the DSP extension alike.

    Args:
        network: one input and one output.
        example: an input, on which `main` compares the output with the reference's.
        flash_bytes: of the device, for the linker script; as the simulator has it if not given.
        sram_bytes: of the device.
    """
    (image,), (output,) = network.inputs, network.outputs
    plan = arena(network, simd=None)
    ops = sorted({call.layer.op for call in network.calls})
    values = {
        "arena_bytes": plan.arena_bytes,
        "input_offset": plan.offset(image),
        "output_offset": plan.offset(output),
        "flash_kib": (flash_bytes or _FLASH_BYTES) >> 10,
        "sram_kib": (sram_bytes or _SRAM_BYTES) >> 10,
        "kernels": " ".join(f"kernels/{op}.c" for op in ops),
        "calls": "\n".join(_call(i, call, plan) for i, call in enumerate(network.calls)),
        **_described("input", network, image),
        **_described("output", network, output),
    }
    files = {
        path.name: Template(path.read_text()).substitute(values) for path in _TEMPLATES.iterdir()
    }
    files["constants.h"] = _constants(network)
    expected = network.reference(example)[output]
    files["test_data.h"] = _array("test_input", example) + _array("test_output", expected)
    files |= _kernels(ops)
    return Sources({name: text.encode() for name, text in sorted(files.items())}, plan)


def wrong_bytes(folder: Path, core: str, compiler: Compiler = "zig") -> int:
    """How many bytes of the output are not those expected, when `main` runs in the emulator.

    Args:
        folder: where the files of `generate` lie.
        core: a key of `core.CORES`.
        compiler: that builds them.

    Raises:
        InputError: a compiler or the extra `mcu` is missing.
    """
    files = [folder / "main.c", folder / "model.c", *sorted((folder / "kernels").glob("*.c"))]
    elf = build(files, find_core(core), compiler=compiler, include=(folder, folder / "kernels"))
    emulator = Emulator(find_core(core), elf)
    emulator.call("main")
    return int(emulator.read(emulator.symbols["wrong_bytes"], 4).view(np.int32)[0])


def _described(role: str, network: Int8Network, tensor: str) -> dict[str, object]:
    kind, shape = network.quantization[tensor], network.shapes[tensor]
    return {
        f"{role}_bytes": prod(shape),
        f"{role}_shape": "x".join(map(str, shape)),
        f"{role}_scale": repr(kind.scale),
        f"{role}_zero": kind.zero_point,
    }


def _call(number: int, call: Call, plan: Plan) -> str:
    places = [f"arena + {plan.offset(name)}" for name in (*call.reads, call.makes)]
    scratch = plan.scratch_offset(call.name)
    has_scratch = any(b.scratch and b.name == call.name for b in plan.buffers)
    places.append(f"arena + {scratch}" if has_scratch else "0")
    arguments = ", ".join([f"&layer_{number}", *places])
    return f"    /* {call.name} */\n    hwnas_{call.layer.op}({arguments});"


def _constants(network: Int8Network) -> str:
    """Structs and arrays; weights lie in another order for SIMD kernels."""
    lines = []
    for guard, simd in (("#if defined(HWNAS_SIMD)", True), ("#else", False)):
        arrays: dict[tuple[str, bytes], str] = {}
        lines.append(guard)
        for i, call in enumerate(network.calls):
            fields = []
            for name, value in constants(call.layer, simd=simd).items():
                if isinstance(value, int):
                    fields.append(f".{name} = {value}")
                    continue
                key = (str(value.dtype), value.tobytes())
                if key not in arrays:
                    arrays[key] = f"values_{len(arrays)}"
                    lines.append(_array(arrays[key], value))
                fields.append(f".{name} = {arrays[key]}")
            kind = f"hwnas_{call.layer.op}_params"
            lines.append(f"static const {kind} layer_{i} = {{{', '.join(fields)}}};")
    return "\n".join([*lines, "#endif", ""])


def _array(name: str, values: np.ndarray) -> str:
    """An array of int8 or int32 in C."""
    # The most negative int32 has no literal in C.
    numbers = [f"({x + 1} - 1)" if x == -(1 << 31) else str(x) for x in values.ravel().tolist()]
    rows = (", ".join(numbers[i : i + _A_LINE]) for i in range(0, len(numbers), _A_LINE))
    body = ",\n".join(rows)
    return f"static const {values.dtype}_t {name}[{values.size}] = {{\n{body}}};\n"


def _kernels(ops: Sequence[str]) -> dict[str, str]:
    """The kernels that are called: SIMD where a core has it and there is one, else portable C."""
    files = {f"kernels/{path.name}": path.read_text() for path in CSRC.glob("*.h")}
    for path in (FREESTANDING / "memory.c", FREESTANDING / "string.h"):
        files[path.name] = path.read_text()
    for op in ops:
        portable, simd = (f"{kind}/{op}.c" for kind in ("portable", "simd"))
        files[f"kernels/{portable}"] = (CSRC / portable).read_text()
        text = f'#include "{portable}"\n'
        if (CSRC / simd).exists():
            files[f"kernels/{simd}"] = (CSRC / simd).read_text()
            text = f'#if defined(HWNAS_SIMD)\n#include "{simd}"\n#else\n{text}#endif\n'
        files[f"kernels/{op}.c"] = f'#include "cores.h"\n{text}'
    return files
