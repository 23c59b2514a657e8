"""Latency of whole populations from a table: one gather an architecture's position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int

from hw_profiles.correction import Correction, features, fit
from hw_profiles.interpolate import Interpolation, interpolate, nothing
from hw_profiles.intervals import Z_90
from hw_profiles.moods import half_width
from hw_profiles.profilers.base import Source
from hw_profiles.table import LatencyTable
from hw_profiles.worklist import unit_keys
from search_spaces.ir.blocks import BlockMap
from search_spaces.space import Archs, SearchSpace

_CHUNK = 8192


@dataclass(frozen=True)
class Estimate:
    """Latency of `n` architectures.

    Args:
        mean_ms: estimate; NaN where a block was never measured: it is not counted as nothing.
        lower_ms: lower end of the 90 % interval; NaN where no whole network was measured.
        upper_ms: its upper end.
        measured: share of the blocks that were measured.
        interpolated: share of those that were interpolated.
        missing: keys of blocks that some of the architectures need and the table does not hold.
    """

    mean_ms: Float[np.ndarray, " n"]
    lower_ms: Float[np.ndarray, " n"]
    upper_ms: Float[np.ndarray, " n"]
    measured: Float[np.ndarray, " n"]
    interpolated: Float[np.ndarray, " n"]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """A position: knobs that decide on its unit, and the unit for each of their combinations."""

    knobs: tuple[int, ...]
    units: Int[np.ndarray, " combinations"]


@dataclass(frozen=True)
class BoundTable:
    """A table and a space.

    Args:
        space: the space.
        blocks: of the space, as the device runs them.
        keys: the table's key of each unit of the space.
        units: measured cost of each unit, or interpolated; NaN where there is neither.
        added_us: what each unit adds to an estimate, the correction in it.
        correction: what was fitted on whole networks.
        source: how the units came by their values.
        places: where the units stand.
    """

    space: SearchSpace
    blocks: BlockMap
    keys: tuple[str, ...]
    units: Interpolation
    added_us: Float[np.ndarray, " u"]
    correction: Correction
    source: Source
    places: tuple[Place, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Keys of all units of the space that the table does not hold and nothing fills in."""
        values = self.units.value_us
        return tuple(k for k, v in zip(self.keys, values, strict=True) if np.isnan(v))

    @property
    def variance_ms2(self) -> Float[np.ndarray, " u"]:
        """What each unit adds to the variance of an estimate for having been interpolated."""
        return (self.correction.scale * self.units.spread_us / 1e3) ** 2

    def half_ms(
        self, mean_ms: Float[np.ndarray, " n"], variance_ms2: Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"]:
        """Half the 90 % interval of estimates: the correction's error and that of interpolation."""
        return np.sqrt((self.correction.interval * mean_ms) ** 2 + Z_90**2 * variance_ms2)

    def cost(self, archs: Archs) -> Estimate:
        """Estimates for a population, canonical or not.

        The sum runs over positions; each is one look-up by the mixed radix of its knobs.
        """
        known = ~np.isnan(self.units.value_us)
        filled = self.units.interpolated
        total_us = self._sum(self.added_us, archs) + self.correction.constant_us
        mean_ms = total_us / 1e3
        variance = self._sum(self.variance_ms2, archs) if filled.any() else np.zeros(len(archs))
        half_ms = self.half_ms(mean_ms, variance)
        measured, interpolated, missing = np.ones(len(archs)), np.zeros(len(archs)), ()
        if filled.any() or not known.all():
            blocks = self._sum(np.ones(len(known)), archs)
            interpolated = self._sum(filled.astype(float), archs) / blocks
            measured = self._sum((known & ~filled).astype(float), archs) / blocks
            used = self._used(archs)
            missing = tuple(
                k for k, u, v in zip(self.keys, used, known, strict=True) if u and not v
            )
        return Estimate(
            mean_ms, mean_ms - half_ms, mean_ms + half_ms, measured, interpolated, missing
        )

    def _sum(self, per_unit: Float[np.ndarray, " u"], archs: Archs) -> Float[np.ndarray, " n"]:
        padded = np.append(per_unit, 0.0)
        costs = [padded[place.units] for place in self.places]
        total = np.zeros(len(archs))
        for rows, look_ups in self._look_ups(archs):
            for cost, look_up in zip(costs, look_ups, strict=True):
                total[rows] += cost[look_up]
        return total

    def _used(self, archs: Archs) -> Bool[np.ndarray, " u"]:
        used = np.zeros(len(self.keys) + 1, bool)
        for _, look_ups in self._look_ups(archs):
            for place, look_up in zip(self.places, look_ups, strict=True):
                used[place.units[look_up]] = True
        return used[:-1]

    def _look_ups(self, archs: Archs) -> Iterator[tuple[slice, Iterator[np.ndarray]]]:
        """Row of each place's table for each architecture, in chunks that stay in the cache."""
        for start in range(0, len(archs), _CHUNK):
            rows = slice(start, start + _CHUNK)
            columns = np.ascontiguousarray(archs[rows].T, np.int32)
            yield rows, (self._radix(place, columns) for place in self.places)

    def _radix(self, place: Place, columns: np.ndarray) -> np.ndarray:
        radix = np.zeros(columns.shape[1], np.int32)
        for knob in place.knobs:
            radix = radix * np.int32(self.space.cardinality[knob]) + columns[knob]
        return radix


def bind(
    table: LatencyTable,
    space: SearchSpace,
    blocks: BlockMap | None = None,
    allow_interpolation: bool = False,
) -> BoundTable:
    """Look every unit of the space up and fit the correction on the space's own networks."""
    blocks = blocks or BlockMap(space)
    keys = unit_keys(blocks)
    value_us = np.array([table.units[k].value_us if k in table.units else np.nan for k in keys])
    learned = table.transferred(space) if np.isnan(value_us).any() else None
    if learned is not None:
        # Its networks are in the values already.
        units = nothing(np.array([learned.value_us.get(k, np.nan) for k in keys]))
        source = "transferred"
        correction = Correction(interval=learned.interval, error=learned.error, n=learned.networks)
    else:
        units = interpolate(blocks.units, value_us) if allow_interpolation else nothing(value_us)
        source, correction = table.source, _correct(table, space, blocks, units.value_us)
    added_us = correction.per_unit(units.value_us, blocks.macs)
    return BoundTable(space, blocks, keys, units, added_us, correction, source, places(blocks))


def _correct(
    table: LatencyTable, space: SearchSpace, blocks: BlockMap, value_us: Float[np.ndarray, " u"]
) -> Correction:
    networks = table.networks_of(space)
    archs = np.array([n.arch for n in networks]).reshape(len(networks), len(space.knobs))
    archs = archs.astype(int)
    sum_us = blocks.total(value_us, archs)
    y_us = np.array([n.measurement.value_us for n in networks])
    whole = ~np.isnan(sum_us)
    archs = archs[whole]
    counts = (blocks.index(archs) >= 0).sum(1)
    x = features(sum_us[whole], counts, blocks.total(blocks.macs, archs))
    correction = fit(x, y_us[whole])
    interval = float(np.hypot(correction.interval, half_width(table.shifts)))
    return replace(correction, interval=interval)


def places(blocks: BlockMap) -> tuple[Place, ...]:
    """A space's positions with absence folded in: knobs of a position and of its conditions."""
    space = blocks.space
    out = []
    for column, slot in enumerate(blocks.slots):
        conditions = {space.knob_index[knob] for knob, _ in slot.conditions}
        knobs = tuple(sorted(set(slot.knobs) | conditions))
        settings = _combinations([int(space.cardinality[k]) for k in knobs])
        archs = np.zeros((len(settings), len(space.knobs)), int)
        archs[:, knobs] = settings
        out.append(Place(knobs, blocks.index(archs)[:, column]))
    return tuple(out)


def _combinations(sizes: Sequence[int]) -> Int[np.ndarray, "m k"]:
    return np.array(list(product(*map(range, sizes))), int).reshape(-1, len(sizes))
