"""Filling a device's table with what a space needs, and nothing twice."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from hw_profiles.device import DeviceSpec
from hw_profiles.profilers import registry
from hw_profiles.profilers.base import Measured, Measurement, Profiler, Progress
from hw_profiles.provenance import capture
from hw_profiles.table import LatencyTable, Network, open_table, table_path
from hw_profiles.worklist import Unit, blocks_on, missing, worklist
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.graph import Graph
from search_spaces.space import Archs, SearchSpace

Report = Callable[[int, int, float, str], None]
_SAVE_EVERY_S = 10.0


def profile(
    space: SearchSpace,
    device: DeviceSpec,
    table: Path | None = None,
    *,
    networks: int = 30,
    seed: int = 0,
    progress: Report | None = None,
    only_missing: bool = True,
    profiler: Profiler | None = None,
) -> LatencyTable:
    """Measure every unit that the space can emit, and whole networks for the correction.

    What is measured is saved every few seconds, so an interruption keeps it.

    Args:
        space: the space.
        device: the device.
        table: the file; the device's own in the user's cache if not given.
        networks: how many whole networks of the space the table shall hold.
        seed: of their choice, and of orders and weights.
        progress: told `(done, total, eta_s, label)`.
        only_missing: leave alone what the table holds already.
        profiler: measures; the device's runner if not given.

    Returns:
        The table with all that the space needs, as it was saved.

    Raises:
        InputError: the device is never measured here, or the file is corrupt or can't be written.
    """
    profiler = profiler or registry.create(device)
    path = table or table_path(device)
    before = open_table(device, path, profiler)
    units, archs = lacking(space, device, before, networks, seed, only_missing)
    if not units and not len(archs):
        return before
    _keep_aside(before, path)
    provenance = capture(profiler.runtime, device.threads)

    def merged(measured: Measured) -> LatencyTable:
        done = provenance.finished(measured.noisy, measured.drift, measured.meter)
        return before.extended(measured, done, space, archs)

    saver = _Saver(lambda measured: merged(measured).save(path), progress)
    try:
        measured = profiler.measure(
            units, [space.build(arch) for arch in archs], seed=seed, watch=saver
        )
    except BaseException:
        saver.save_partial()
        raise
    after = merged(measured)
    after.save(path)
    return after


def lacking(
    space: SearchSpace,
    device: DeviceSpec,
    table: LatencyTable,
    networks: int,
    seed: int,
    only_missing: bool = True,
) -> tuple[tuple[Unit, ...], Archs]:
    """What has to be measured for a space: units, and architectures of whole networks.

    Args:
        space: the space.
        device: the device.
        table: what is known already.
        networks: how many whole networks of the space the table shall hold.
        seed: of their choice.
        only_missing: leave out what is known.
    """
    blocks = BlockMap(space)
    units = worklist(blocks_on(device, blocks), device)
    have: Sequence[Network] = ()
    if only_missing:
        units = missing(units, set(table.units) - table.unsettled())
        have = [n for n in table.networks_of(space) if n.measurement.settled]
    known = np.array([n.arch for n in have], int).reshape(len(have), len(space.knobs))
    return units, spread_archs(blocks, max(0, networks - len(have)), seed, known)


def measure_networks(
    device: DeviceSpec,
    graphs: Sequence[Graph],
    *,
    seed: int = 0,
    progress: Report | None = None,
    profiler: Profiler | None = None,
) -> list[Measurement]:
    """Measure whole networks, interleaved and by the same statistic as the table's.

    Args:
        device: the device.
        graphs: networks, batch norm still in them.
        seed: of orders and weights.
        progress: told `(done, total, eta_s, label)`.
        profiler: measures; the device's runner if not given.

    Raises:
        InputError: the device is never measured here.
    """

    def watch(now: Progress) -> None:
        if progress is not None:
            progress(now.done, now.total, now.eta_s, now.label)

    profiler = profiler or registry.create(device)
    return list(profiler.measure((), graphs, seed=seed, watch=watch).networks)


def spread_archs(blocks: BlockMap, n: int, seed: int, without: Int[np.ndarray, "used k"]) -> Archs:
    """Distinct architectures that cover the space from its smallest to its largest.

    Half are uniform draws, as a search begins with. The others lean towards small or large options
    and are picked evenly over the logarithm of their MACs. Options of static knobs (resolution)
    take turns.

    Args:
        blocks: the space, as its blocks.
        n: how many; fewer where the space has no more.
        seed: of the draws.
        without: architectures that must not be among them.
    """
    space = blocks.space
    rng = np.random.default_rng([seed, len(without)])
    ends = np.stack([space.largest(), space.smallest()])
    uniform = _turns(space, rng.integers(0, space.cardinality[None, :], (4 * n, len(space.knobs))))
    lean = rng.random((4 * n, 1))
    leaning = _turns(space, rng.binomial(space.cardinality[None, :] - 1, lean))
    macs = np.log(blocks.total(blocks.macs, leaning) + 1.0)
    targets = np.linspace(macs.min(initial=0.0), macs.max(initial=0.0), n - n // 2)
    even = [leaning[np.argmin(np.abs(macs - target))] for target in targets] if n else []
    candidates = [*ends, *even, *uniform, *leaning]
    taken = {tuple(arch) for arch in without}
    chosen = []
    for arch in candidates:
        if len(chosen) < n and tuple(arch) not in taken:
            taken.add(tuple(arch))
            chosen.append(arch)
    return np.array(chosen, int).reshape(len(chosen), len(space.knobs))


def _turns(space: SearchSpace, archs: Archs) -> Archs:
    """The same, canonical, with static knobs cycling through their options."""
    for i, knob in enumerate(space.knobs):
        if knob.static:
            archs[:, i] = np.arange(len(archs)) % len(knob.options)
    return space.canonical(archs)


def _keep_aside(table: LatencyTable, path: Path) -> None:
    """Move a file whose measurements are not valid here out of the way: nothing is overwritten."""
    if not table.warnings:
        return
    number = 1
    while (aside := path.with_suffix(f".other{number}.json")).exists():
        number += 1
    path.rename(aside)


class _Saver:
    """Passes progress on and saves the results so far now and then."""

    def __init__(self, save: Callable[[Measured], None], progress: Report | None) -> None:
        self._save, self._progress = save, progress
        self._last: Progress | None = None
        self._saved_s = time.monotonic()

    def __call__(self, now: Progress) -> None:
        self._last = now
        if self._progress is not None:
            self._progress(now.done, now.total, now.eta_s, now.label)
        if time.monotonic() - self._saved_s > _SAVE_EVERY_S:
            self.save_partial()

    def save_partial(self) -> None:
        """Save what is known, if anything is."""
        measured = self._last.partial() if self._last is not None else Measured()
        if measured.units or measured.networks:
            self._save(measured)
        self._saved_s = time.monotonic()
