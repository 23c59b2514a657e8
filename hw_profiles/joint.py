"""Latency of very many networks on several devices at once: few look-ups, all devices in each."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from math import prod

import numpy as np
from jaxtyping import Float32, Int

from hw_profiles.estimate import BoundTable

# Combinations that a joint look-up may have: for four devices it fits into the second-level cache.
_MOST = 25_000
# Architectures at a time: what is made of their columns stays in the cache.
_CHUNK = 16_384


class JointCost:
    """Several devices' tables of one space, with positions that share knobs looked up together.

    Args:
        tables: complete, bound to the same space.
    """

    def __init__(self, tables: Sequence[BoundTable]) -> None:
        self._cardinality = tables[0].space.cardinality
        self._constant = np.array([t.correction.constant_us for t in tables], np.float32)
        groups = _merged([place.knobs for place in tables[0].places], self._cardinality)
        self._knobs = [knobs for knobs, _ in groups]
        self._values = [self._table(tables, knobs, members) for knobs, members in groups]

    def cost(self, archs: Int[np.ndarray, "n k"]) -> Float32[np.ndarray, "n d"]:
        """Milliseconds of every architecture (canonical or not) on every device.

        int8 columns (`np.asfortranarray(archs, dtype=np.int8)`) are read fastest.
        """
        out = np.empty((len(archs), len(self._constant)), np.float32)
        chunks = [slice(start, start + _CHUNK) for start in range(0, len(archs), _CHUNK)]

        def fill(rows: slice) -> None:
            part = out[rows]
            part[:] = self._constant
            for knobs, values in zip(self._knobs, self._values, strict=True):
                place = archs[rows, knobs[0]].astype(np.int32)
                for knob in knobs[1:]:
                    place *= np.int32(self._cardinality[knob])
                    place += archs[rows, knob]
                part += values.take(place, axis=0)
            part *= np.float32(1e-3)

        if len(chunks) < 2:
            for rows in chunks:
                fill(rows)
        else:
            # NumPy lets go of the interpreter in all of the above.
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(fill, chunks))
        return out

    def _table(
        self, tables: Sequence[BoundTable], knobs: tuple[int, ...], members: Sequence[int]
    ) -> Float32[np.ndarray, "combinations d"]:
        settings = np.array(list(product(*(range(int(self._cardinality[k])) for k in knobs))))
        total = np.zeros((len(settings), len(tables)))
        for member in members:
            for device, table in enumerate(tables):
                place = table.places[member]
                radix = np.zeros(len(settings), np.int64)
                for knob in place.knobs:
                    radix = radix * self._cardinality[knob] + settings[:, knobs.index(knob)]
                total[:, device] += np.append(table.added_us, 0.0)[place.units][radix]
        return total.astype(np.float32)


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
