"""How often each basic block ran, counted natively where the host has a compiler.

Both counters see the same: what `csrc/hook.cc` does in C++, `_PythonCounter` does in Python, some
hundred times slower.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hw_profiles.mcu.toolchain import require
from kernels.toolchain import load_library

_HOOK = Path(__file__).parent / "csrc" / "hook.cc"
_FIELDS = ("count", "again", "taken", "missed", "size")
_NOWHERE = 2**64 - 1


@dataclass(frozen=True, slots=True)
class BlockCount:
    """What one basic block did.

    Args:
        size: bytes of code.
        count: times it ran.
        again: of these, right after itself.
        taken: of these, followed by another block than the next in memory.
        missed: of these, where a two-bit branch predictor was wrong about that.
    """

    size: int
    count: int
    again: int
    taken: int
    missed: int


class Counter(Protocol):
    """Counts blocks of one emulated program."""

    def reset(self) -> None:
        """Forget all counts; the predictor's state as well."""
        ...

    def blocks(self) -> Mapping[int, BlockCount]:
        """Counts by address of the block's first instruction."""
        ...


def attach(uc: Any, base: int, size: int) -> Counter:
    """Count the blocks that lie in a range of addresses.

    Args:
        uc: unicorn's engine.
        base: lowest address of code.
        size: bytes of code.
    """
    try:
        library = load_library((_HOOK,), include=())
        return _NativeCounter(uc, library, base, size)
    except (NotImplementedError, AttributeError):
        return _PythonCounter(uc, base, size)


class _Native(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_uint64),
        ("entries", ctypes.c_uint64),
        *((name, ctypes.c_void_p) for name in (*_FIELDS, "state")),
        ("last", ctypes.c_uint64),
        ("next", ctypes.c_uint64),
    )


class _NativeCounter:
    def __init__(self, uc: Any, library: ctypes.CDLL, base: int, size: int) -> None:
        # Private names of unicorn's binding, so its version is pinned; the fallback needs none.
        binding = require("unicorn.unicorn_py3.unicorn")
        self._entries = size // 2 + 1
        self._arrays = {name: np.zeros(self._entries, np.uint32) for name in _FIELDS}
        self._state = np.zeros(self._entries, np.uint8)
        places = {name: array.ctypes.data for name, array in self._arrays.items()}
        self._base = base
        self._native = _Native(base, self._entries, *places.values(), self._state.ctypes.data)
        self.reset()
        hook = ctypes.c_size_t()
        status = binding.uclib.uc_hook_add(
            uc._uch,
            ctypes.byref(hook),
            ctypes.c_int(require("unicorn").UC_HOOK_BLOCK),
            ctypes.cast(library.hwnas_block, ctypes.c_void_p),
            ctypes.cast(ctypes.byref(self._native), ctypes.c_void_p),
            ctypes.c_uint64(1),
            ctypes.c_uint64(0),
        )
        if status != 0:
            raise NotImplementedError(f"unicorn: uc_hook_add gave {status}")

    def reset(self) -> None:
        for array in self._arrays.values():
            array.fill(0)
        self._state.fill(1)
        self._native.last = self._native.next = _NOWHERE

    def blocks(self) -> Mapping[int, BlockCount]:
        (ran,) = np.nonzero(self._arrays["count"])
        columns = {name: array[ran].tolist() for name, array in self._arrays.items()}
        return {
            self._base + 2 * int(entry): BlockCount(
                **{name: column[i] for name, column in columns.items()}
            )
            for i, entry in enumerate(ran)
        }


class _PythonCounter:
    def __init__(self, uc: Any, base: int, size: int) -> None:
        self._base, self._end = base, base + size
        self.reset()
        uc.hook_add(require("unicorn").UC_HOOK_BLOCK, self._block)

    def reset(self) -> None:
        # By address: the fields of `BlockCount`, in the order of `_FIELDS`, and the predictor's.
        self._found: dict[int, list[int]] = {}
        self._last = self._next = _NOWHERE

    def _block(self, _uc: Any, address: int, size: int, _user: Any) -> None:
        if not self._base <= address < self._end + 2:
            return
        before = self._found.get(self._last)
        if before is not None:
            taken = int(address != self._next)
            before[2] += taken
            before[3] += taken != before[5] >> 1
            before[5] = min(before[5] + 1, 3) if taken else max(before[5] - 1, 0)
        entry = self._found.setdefault(address, [0, 0, 0, 0, size, 1])
        entry[0] += 1
        entry[1] += self._last == address
        entry[4] = size
        self._last, self._next = address, address + size

    def blocks(self) -> Mapping[int, BlockCount]:
        return {
            address: BlockCount(**dict(zip(_FIELDS, entry, strict=False)))
            for address, entry in self._found.items()
        }
