"""How good a table's estimates are: against networks that had no part in them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from hw_profiles.device import DeviceSpec
from hw_profiles.moods import anchors, shift
from hw_profiles.profilers import registry
from hw_profiles.profilers.base import Profiler, Progress, Source
from hw_profiles.table import LatencyTable, Network
from hw_profiles.worklist import blocks_on
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.space import Archs, SearchSpace


@dataclass(frozen=True)
class ValidationReport:
    """Estimates from blocks beside whole networks that were not used in the fit.

    Args:
        archs: the architectures.
        estimated_ms: the table's estimates.
        whole_ms: what the device's runner says of the whole networks: the mean of two loads of
            each, since the place in memory that a model gets makes it faster or slower.
        source: how it comes by that: `measured`, or `estimated` by a compiler.
        mape: mean absolute error relative to that.
        worst: the largest of these errors.
        spearman: rank correlation.
        coverage: share of the whole networks inside the estimate's 90 % interval.
        noise_floor: mean relative difference when the same networks are done twice.
        noisy: whether other work disturbed the measuring.
        shift: how much longer networks of the table take than when it was measured; None where
            that is not known, or the same by its source.
        mape_shifted: the mean error of estimates that much longer; of the estimates as they are
            where it is not known.
    """

    archs: Archs
    estimated_ms: Float[np.ndarray, " n"]
    whole_ms: Float[np.ndarray, " n"]
    source: Source
    mape: float
    worst: float
    spearman: float
    coverage: float
    noise_floor: float
    noisy: bool
    shift: float | None
    mape_shifted: float

    def __str__(self) -> str:
        """One line for a terminal."""
        moved = (
            f"; networks of the table take {self.shift:+.2%} against then, with which MAPE is "
            f"{self.mape_shifted:.2%}"
            if self.shift is not None
            else ""
        )
        return (
            f"{len(self.archs)} networks not used in the fit, {self.source} as a whole: "
            f"MAPE {self.mape:.2%}, worst {self.worst:.2%}, Spearman {self.spearman:.4f}, "
            f"{self.coverage:.0%} inside the 90 % interval; "
            f"{self.source} twice they differ by {self.noise_floor:.2%}{moved}"
            + ("; other work disturbed the measuring" if self.noisy else "")
        )


def validate(
    space: SearchSpace,
    device: DeviceSpec,
    table: LatencyTable,
    n: int = 40,
    *,
    seed: int = 1,
    progress: Callable[[int, int, float, str], None] | None = None,
    profiler: Profiler | None = None,
) -> ValidationReport:
    """Measure random networks, each loaded twice, and compare; some of the table's beside them.

    Args:
        space: the space.
        device: the device.
        table: its table.
        n: how many networks; fewer where the space has no more.
        seed: of their choice, and of orders and weights.
        progress: told `(done, total, eta_s, label)`.
        profiler: measures; the device's runner if not given.

    Raises:
        InputError: the table lacks units of the space, or no network is left to compare with.
    """
    profiler = profiler or registry.create(device)
    archs = _unused(space, table, n, seed)
    bound = table.bind(space, blocks_on(device, BlockMap(space)))
    if bound.missing:
        raise InputError(
            f"device {device.id!r}: {len(bound.missing)} of {len(bound.keys)} blocks of "
            f"{space.name} are missing; run: nas profile {space.name} --device {device.id}"
        )
    if len(archs) < 3:
        raise InputError(f"space {space.name}: fewer than 3 networks are left to validate with")
    graphs = [space.build(arch) for arch in archs]
    known = _known(space, table) if table.source == "measured" else []
    again = [space.build(np.array(network.arch)) for network in known]

    def watch(now: Progress) -> None:
        if progress is not None:
            progress(now.done, now.total, now.eta_s, now.label)

    measured = profiler.measure((), [*graphs, *graphs, *again], seed=seed, watch=watch)
    values = np.array([m.value_us for m in measured.networks]) / 1e3
    first, second, now = np.split(values, [len(archs), 2 * len(archs)])
    source = measured.networks[0].source
    then = np.array([network.measurement.value_us for network in known]) / 1e3
    moved = shift(then, now)
    estimate = bound.cost(archs)
    whole = (first + second) / 2
    error = np.abs(estimate.mean_ms / whole - 1)
    error_shifted = np.abs(estimate.mean_ms * (1 + (moved or 0.0)) / whole - 1)
    inside = (estimate.lower_ms <= whole) & (whole <= estimate.upper_ms)
    return ValidationReport(
        archs,
        estimate.mean_ms,
        whole,
        source,
        float(error.mean()),
        float(error.max()),
        _spearman(estimate.mean_ms, whole),
        float(inside.mean()),
        float(np.abs(second / first - 1).mean()),
        measured.noisy,
        moved,
        float(error_shifted.mean()),
    )


def _known(space: SearchSpace, table: LatencyTable) -> list[Network]:
    networks = table.networks_of(space)
    values = np.array([network.measurement.value_us for network in networks])
    return [networks[i] for i in anchors(values)]


def _unused(space: SearchSpace, table: LatencyTable, n: int, seed: int) -> Archs:
    used = {network.arch for network in table.networks_of(space)}
    drawn = np.unique(space.sample(np.random.default_rng(seed), 4 * n + len(used)), axis=0)
    fresh = np.array([arch for arch in drawn if tuple(map(int, arch)) not in used], int)
    fresh = fresh.reshape(-1, len(space.knobs))
    return np.random.default_rng(seed).permutation(fresh)[:n]


def _spearman(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    def ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        order = np.unique(values, return_inverse=True, return_counts=True)
        ends = np.cumsum(order[2])
        return (ends - (order[2] - 1) / 2)[order[1]]

    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])
