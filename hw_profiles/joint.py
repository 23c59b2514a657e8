"""Costs of very many networks on several devices at once: few look-ups, all costs in each.

In C++ where there is a compiler (`joint.cc`), else in NumPy, with the same results.
"""

import ctypes
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int

from hw_profiles.estimate import BoundTable, Place
from hw_profiles.provenance import usable_cores
from kernels.toolchain import load_library
from search_spaces.space import Archs, SearchSpace

_SOURCE = Path(__file__).with_suffix(".cc")
# Combinations that a joint look-up may have: for four devices it fits into the second-level cache.
# With 3,000 a million architectures are a third faster, but sums are rounded otherwise, and
# searches for the same seed go other ways.
_MOST = 25_000
# Architectures at a time: what is made of their columns stays in the cache.
_CHUNK = 16_384


class _Tables(ctypes.Structure):
    _fields_ = (
        ("groups", ctypes.c_int64),
        ("sums", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("begin", "knobs", "strides", "first")),
        *((name, ctypes.c_void_p) for name in ("values", "constant")),
    )


# The library, its view of the tables, and the arrays that this points to.
_Native = tuple[ctypes.CDLL, _Tables, list[np.ndarray]]


class JointCost:
    """Several sums over blocks, with positions that share knobs looked up together.

    Args:
        space: where the architectures come from.
        places: positions of its blocks.
        per_unit: what each unit adds to each sum; NaN where that is not known.
        constant: what each sum begins with.
    """

    def __init__(
        self,
        space: SearchSpace,
        places: Sequence[Place],
        per_unit: Float[np.ndarray, "u s"],
        constant: Float[np.ndarray, " s"],
    ) -> None:
        self._space = space
        self._constant = np.array(constant, np.float64)
        groups = _merged([place.knobs for place in places], space.cardinality)
        padded = np.concatenate([per_unit, np.zeros((1, per_unit.shape[1]))])
        self._knobs = [knobs for knobs, _ in groups]
        self._values = [
            self._table(padded, knobs, [places[member] for member in members])
            for knobs, members in groups
        ]

    def cost(self, archs: Archs) -> Float64[np.ndarray, "n s"]:
        """Every sum of every architecture, canonical or not; NaN where it needs an unknown unit.

        Columns of narrow integers (`np.asfortranarray(archs, dtype=space.narrow)`) are read
        fastest.
        """
        out, native = np.empty((len(archs), len(self._constant))), self._native
        starts = range(0, len(archs), _CHUNK)
        waiting = iter(starts)
        if len(starts) < 2:
            self._fill(native, archs, out, waiting)
            return out
        # NumPy and C++ let go of the interpreter in nearly all that is done.
        cores = usable_cores()
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(lambda _: self._fill(native, archs, out, waiting), range(cores)))
        return out

    def _fill(
        self,
        native: _Native | None,
        archs: Archs,
        out: Float64[np.ndarray, "n s"],
        starts: Iterable[int],
    ) -> None:
        """Costs of the chunks that this worker is the first to take."""
        narrow = self._space.narrow
        for start in starts:
            chunk, total = archs[start : start + _CHUNK], out[start : start + _CHUNK]
            if chunk.dtype != narrow or chunk.strides[0] != narrow.itemsize:
                chunk = chunk.astype(narrow, order="F")
            if native is None:
                self._look_up(chunk, total)
                continue
            library, tables, _ = native
            library.hwnas_joint(
                ctypes.byref(tables),
                ctypes.c_void_p(chunk.ctypes.data),
                ctypes.c_int64(chunk.strides[1]),
                ctypes.c_int64(len(chunk)),
                ctypes.c_void_p(total.ctypes.data),
            )

    @cached_property
    def _native(self) -> _Native | None:
        """The C++ code, its view of the tables, and what that points to; None where it can't be
        built, and for entries that need more than eight bits.
        """
        if self._space.narrow != np.int8:
            return None
        try:
            library = load_library((_SOURCE,), include=())
        except NotImplementedError:
            return None
        strides = [
            prod(int(self._space.cardinality[later]) for later in knobs[i + 1 :])
            for knobs in self._knobs
            for i in range(len(knobs))
        ]
        rows = [0, *np.cumsum([len(values) for values in self._values])]
        begin = [0, *np.cumsum([len(knobs) for knobs in self._knobs])]
        knobs = [knob for knobs in self._knobs for knob in knobs]
        arrays = [np.array(numbers, np.int32) for numbers in (begin, knobs, strides, rows)]
        arrays += [np.concatenate(self._values), self._constant]
        places = [array.ctypes.data for array in arrays]
        return library, _Tables(len(self._knobs), len(self._constant), *places), arrays

    def _look_up(self, columns: Archs, total: Float64[np.ndarray, "n s"]) -> None:
        """What `joint.cc` does."""
        found = np.empty_like(total)
        total[:] = self._constant
        for knobs, values in zip(self._knobs, self._values, strict=True):
            place = self._radix([columns[:, knob] for knob in knobs], knobs).astype(np.intp)
            # `clip` changes no place: the mode that needs no second buffer.
            values.take(np.broadcast_to(place, len(total)), 0, found, mode="clip")
            total += found

    def _radix(
        self, columns: Sequence[Int[np.ndarray, " n"]], knobs: Sequence[int]
    ) -> Int[np.ndarray, " n"]:
        """Number of each combination of options, the last knob fastest; as narrow as it can be."""
        if not knobs:
            return np.zeros(1, np.int8)
        sizes = [int(self._space.cardinality[knob]) for knob in knobs]
        place, size = columns[0], sizes[0]
        for column, options in zip(columns[1:], sizes[1:], strict=True):
            size *= options
            wide = np.promote_types(place.dtype, np.min_scalar_type(-size))
            place = place.astype(wide, copy=False) * wide.type(options) + column
        return place

    def _table(
        self,
        per_unit: Float[np.ndarray, "u s"],
        knobs: tuple[int, ...],
        places: Sequence[Place],
    ) -> Float64[np.ndarray, "combinations s"]:
        sizes = [int(self._space.cardinality[knob]) for knob in knobs]
        combinations = np.indices(sizes).reshape(len(sizes), prod(sizes))
        options = dict(zip(knobs, combinations, strict=True))
        total = np.zeros((prod(sizes), per_unit.shape[1]))
        for place in places:
            at = self._radix([options[knob] for knob in place.knobs], place.knobs)
            total += per_unit[place.units[at]]
        return total


def joint_latency(tables: Sequence[BoundTable]) -> JointCost:
    """Milliseconds on several devices, as `BoundTable.cost` estimates them.

    Args:
        tables: bound to the same space.
    """
    per_unit = np.stack([table.added_us / 1e3 for table in tables], axis=1)
    constant = np.array([table.correction.constant_us / 1e3 for table in tables])
    return JointCost(tables[0].space, tables[0].places, per_unit, constant)


def _merged(
    places: Sequence[tuple[int, ...]], cardinality: Int[np.ndarray, " k"]
) -> list[tuple[tuple[int, ...], list[int]]]:
    """Positions put together as long as their knobs have few combinations in common."""

    def size(knobs: Iterable[int]) -> int:
        return prod(int(cardinality[k]) for k in knobs)

    groups: list[tuple[set[int], list[int]]] = []
    for number, knobs in enumerate(places):
        fitting = [g for g in groups if size(g[0] | set(knobs)) <= _MOST]
        if fitting:
            best = min(fitting, key=lambda g: size(g[0] | set(knobs)) / size(g[0]))
            best[0].update(knobs)
            best[1].append(number)
        else:
            groups.append((set(knobs), [number]))
    return [(tuple(sorted(knobs)), members) for knobs, members in groups]
