"""A device's table from a few whole networks: other devices tell the rest.

The transfer (`predictors.transfer`) works on a sample of the space. A table is sums of blocks, so
what it says of the sample is written as such a sum by least squares, which is exact where the
sources are tables of blocks, and how far it is from that widens the interval.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int

from hw_profiles.device import DeviceSpec, load_device
from hw_profiles.elsewhere.worklist import table_so_far
from hw_profiles.intervals import Z_90
from hw_profiles.latencies import load_latencies, spaces_with_latencies
from hw_profiles.profile import spread_archs
from hw_profiles.profilers import registry
from hw_profiles.profilers.base import Profiler, Progress
from hw_profiles.provenance import capture
from hw_profiles.table import LatencyTable, identity, open_table, table_path
from hw_profiles.transferred import TransferredCosts
from hw_profiles.worklist import unit_keys
from nas.labelled import encoded
from predictors.smoothing import smooth_ms
from predictors.transfer import Transfer
from predictors.transfer_fit import Transferred
from predictors.transfer_settings import Description
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.extremes import cheapest
from search_spaces.space import Archs, SearchSpace

_SAMPLE, _SPREAD = 3000, 60
_HELD_OUT = 5
# Penalty on blocks' costs, over their mean square; it decides only where sums leave them open.
_RIDGE = 1e-7
Report = Callable[[int, int, float, str], None]


@dataclass(frozen=True)
class FewShot:
    """What is known of a space before a new device is measured.

    Args:
        blocks: the space.
        pool: a sample of its architectures.
        transfer: the sample on other devices.
        sources: these devices, in words.
    """

    blocks: BlockMap
    pool: Archs
    transfer: Transfer
    sources: tuple[str, ...]

    def choose(self, count: int, seed: int = 0) -> Archs:
        """The networks to measure."""
        return self.pool[self.transfer.choose(count, seed=seed)]


def prepare(
    space: SearchSpace, sources: Sequence[DeviceSpec], known: Archs, seed: int = 0
) -> FewShot:
    """Sample the space and ask the other devices.

    Args:
        space: the space.
        sources: devices with a table of the space, or with published latencies of it.
        known: architectures that must be in the sample: those that were measured.
        seed: of the sample.

    Raises:
        InputError: a line for each device that knows nothing of the space.
    """
    blocks = BlockMap(space)
    drawn = space.sample(np.random.default_rng(seed), _SAMPLE)
    pool = np.concatenate([known, spread_archs(blocks, _SPREAD, seed, known), drawn])
    pool = np.concatenate([pool, _with_every_unit(blocks, pool)])
    pool = pool[np.sort(np.unique(pool, axis=0, return_index=True)[1])]
    reading = _describe(blocks, pool)
    problems, columns, words = [], [], []
    for device in sources:
        try:
            latency_ms, said = _on_source(blocks, device, pool)
        except InputError as error:
            problems.append(str(error))
        else:
            columns.append(latency_ms)
            words.append(f"{device.id}: {said}")
    if problems:
        raise InputError(problems)
    known_ms = np.stack(columns, 1) if columns else np.zeros((len(pool), 0))
    return FewShot(blocks, pool, Transfer((reading,), known_ms), tuple(words))


def measure_few(
    space: SearchSpace,
    device: DeviceSpec,
    sources: Sequence[str],
    count: int,
    path: Path | None = None,
    *,
    seed: int = 0,
    progress: Report | None = None,
    profiler: Profiler | None = None,
) -> LatencyTable:
    """Measure a few networks, chosen to tell the most, and fill the table from other devices.

    Networks of the space that the table holds already count as well. Measured blocks stay as they
    are; estimates rest on the transfer until all of the space's blocks are measured.

    Args:
        space: the space.
        device: the new device; without a runner its networks must have been brought in.
        sources: ids of the other devices; none to go by the architectures alone.
        count: how many networks the table shall hold at least.
        path: the table's file; the device's own if not given.
        seed: of the sample, of orders and weights.
        progress: told `(done, total, eta_s, label)`.
        profiler: measures; the device's runner if not given.

    Returns:
        The table, as it was saved.

    Raises:
        InputError: a source knows nothing of the space, or nothing can be measured here.
    """
    others = _others(device, sources)
    here = device.runner is not None
    path = path or table_path(device)
    table = open_table(device, path, profiler) if here else table_so_far(device)
    ready = prepare(space, others, _measured(table, space)[0], seed)
    lacking = count - len(_measured(table, space)[0])
    if lacking > 0 and not here:
        raise InputError(
            f"device {device.id!r} is not measured here, and {lacking} of {count} networks are "
            f"missing; add --export-worklist FILE.zip to this command, then --import-results"
        )
    if lacking > 0:
        profiler = profiler or registry.create(device)
        archs = _new(ready.choose(count, seed), table, space)[:lacking]
        table = _extended(table, space, device, archs, profiler, seed, progress)
        table.save(path)
    archs, latency_ms = _measured(table, space)
    rows = _rows(ready.pool, archs)
    found = ready.transfer.fit(rows, latency_ms)
    learned = _as_blocks(ready, found, len(table.sessions) - 1)
    kept = tuple(item for item in table.transfers if item.space != learned.space)
    table = replace(table, transfers=(*kept, learned))
    table.save(path)
    return table


def wanted(
    space: SearchSpace, device: DeviceSpec, sources: Sequence[str], count: int, seed: int = 0
) -> Archs:
    """The networks that a device which is measured elsewhere still has to measure."""
    table = table_so_far(device)
    known = _measured(table, space)[0]
    ready = prepare(space, _others(device, sources), known, seed)
    return _new(ready.choose(count, seed), table, space)[: max(count - len(known), 0)]


def _with_every_unit(blocks: BlockMap, archs: Archs) -> Int[np.ndarray, "m k"]:
    """An architecture for each unit that none of the sample has."""
    units = np.arange(len(blocks.units))
    unseen = np.setdiff1d(units, blocks.index(archs))
    found = [cheapest(blocks, -(units == unit).astype(float)).arch for unit in unseen]
    return np.array(found, int).reshape(-1, archs.shape[1])


def _others(device: DeviceSpec, sources: Sequence[str]) -> list[DeviceSpec]:
    if device.id in sources:
        raise InputError(f"--from: {device.id!r} is the new device itself")
    return [load_device(name) for name in sources]


def _measured(
    table: LatencyTable, space: SearchSpace
) -> tuple[Int[np.ndarray, "m k"], Float64[np.ndarray, " m"]]:
    networks = [n for n in table.networks_of(space) if n.measurement.settled]
    archs = np.array([n.arch for n in networks], int).reshape(-1, len(space.knobs))
    return archs, np.array([n.measurement.value_us / 1e3 for n in networks])


def _new(archs: Archs, table: LatencyTable, space: SearchSpace) -> Int[np.ndarray, "m k"]:
    known = {tuple(arch) for arch in _measured(table, space)[0]}
    return archs[[tuple(arch) not in known for arch in archs]]


def _extended(
    table: LatencyTable,
    space: SearchSpace,
    device: DeviceSpec,
    archs: Archs,
    profiler: Profiler,
    seed: int,
    progress: Report | None,
) -> LatencyTable:
    provenance = capture(profiler.runtime, device.threads)

    def watch(now: Progress) -> None:
        if progress is not None:
            progress(now.done, now.total, now.eta_s, now.label)

    graphs = [space.build(arch) for arch in archs]
    measured = profiler.measure((), graphs, seed=seed, watch=watch)
    done = provenance.finished(measured.noisy, measured.drift, measured.meter)
    return table.extended(measured, done, space, archs)


def _rows(pool: Archs, archs: Int[np.ndarray, "m k"]) -> Int[np.ndarray, " m"]:
    row = {tuple(arch): number for number, arch in enumerate(pool)}
    return np.array([row[tuple(arch)] for arch in archs])


def _describe(blocks: BlockMap, archs: Archs) -> Description:
    """Choices, how often each option is taken over knobs of the same options, and sizes."""
    space = blocks.space
    onehot = space.onehot(archs)
    kinds: dict[tuple[object, ...], int] = {}
    starts = np.cumsum([0, *(len(knob.options) for knob in space.knobs)])
    of = np.zeros(onehot.shape[1], int)
    for start, knob in zip(starts, space.knobs, strict=False):
        kind = kinds.setdefault(knob.options, sum(map(len, kinds)))
        of[start : start + len(knob.options)] = kind + np.arange(len(knob.options))
    tallies = onehot @ (of[:, None] == np.arange(of.max() + 1)[None, :]).astype(np.float32)
    counts = [
        blocks.total(blocks.macs, archs),
        blocks.total(blocks.params, archs),
        (blocks.index(archs) >= 0).sum(1),
    ]
    return Description(onehot, tallies, np.stack(counts, 1).astype(np.float64))


def _on_source(
    blocks: BlockMap, device: DeviceSpec, pool: Archs
) -> tuple[Float[np.ndarray, " n"], str]:
    """The sample's latencies on another device, and where they are from."""
    space = blocks.space
    if space.name in spaces_with_latencies(device):
        published = load_latencies(device, space.name)
        where = f"--from: latencies of {space.name!r} on {device.id!r}"
        archs = encoded(space, published.archs.to_dict("list"), where)
        x, wide = (_columns(_describe(blocks, a)) for a in (archs, pool))
        values = smooth_ms(x, published.latency_ms, wide)
        return values, f"{len(archs)} published networks ({published.origin.source})"
    table = open_table(device)
    bound = table.bind(space, blocks)
    if bound.missing:
        raise InputError(
            f"--from: device {device.id!r} has no complete table for space {space.name!r}: "
            f"{len(bound.missing)} of {len(bound.keys)} blocks missing; "
            f"run: nas profile {space.name} --device {device.id}"
        )
    if bound.source == "transferred":
        raise InputError(
            f"--from: the table of {device.id!r} is a transfer itself; name the devices behind it"
        )
    return bound.cost(pool).mean_ms, f"table {table.digest()}, {bound.source}"


def _columns(reading: Description) -> Float64[np.ndarray, "n f"]:
    parts = [reading.onehot, reading.tallies, np.log(reading.statistics)]
    return np.hstack(parts).astype(np.float64)


def _as_blocks(ready: FewShot, found: Transferred, session: int) -> TransferredCosts:
    blocks, pool = ready.blocks, ready.pool
    said = found.predict(np.arange(len(pool)))
    index = blocks.index(pool)
    counts = np.stack([(index == unit).sum(1) for unit in range(len(blocks.units))], 1)
    x = counts / said.mean[:, None]
    tested = np.arange(len(pool)) % _HELD_OUT == 0
    missed = x[tested] @ _least_squares(x[~tested]) - 1
    value_ms = _least_squares(x)
    spread = np.mean(np.square(said.std / said.mean)) + np.mean(np.square(missed))
    error = np.abs(found.left_out.mean / found.latency_ms - 1).mean()
    keys = unit_keys(blocks)
    return TransferredCosts(
        identity(blocks.space),
        {key: float(1e3 * value) for key, value in zip(keys, value_ms, strict=True)},
        float(Z_90 * np.sqrt(spread)),
        float(error),
        len(found.rows),
        ready.sources,
        found.doubts,
        session,
    )


def _least_squares(x: Float[np.ndarray, "n u"]) -> Float64[np.ndarray, " u"]:
    """Costs whose sums are 1 in every row, as far as that is possible."""
    gram = x.T @ x
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, x.sum(0))
