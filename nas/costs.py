"""What architectures cost: arrays for whole populations, and the extremes of a space."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import combinations

import numpy as np
from jaxtyping import Float, Num

from hw_profiles.block_memory import BlockMemory
from hw_profiles.device import DeviceSpec, elsewhere_command
from hw_profiles.estimate import BoundTable, places
from hw_profiles.joint import JointCost
from hw_profiles.mcu.memory import planned
from hw_profiles.table import LatencyTable
from hw_profiles.worklist import blocks_on
from nas.objectives import MEMORY, Constraint, Objective
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.extremes import Extreme, cheapest
from search_spaces.space import Archs

Columns = dict[str, Num[np.ndarray, " n"]]
Intervals = dict[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]]

_COUNTED = ("macs", "params")
_ESTIMATED = {"measured": "estimated from blocks", "transferred": "transferred"}
_VARIANCE = "variance of "
# Weights of the first of two bounds that are tried for a proof that they exclude each other.
_WEIGHTS = np.linspace(0.05, 0.95, 19)
# Above rounding errors of relative excesses.
_CERTAIN = 1e-9


class Costs:
    """MACs, parameters, latency and energy on every device, from the blocks of an architecture.

    Args:
        blocks: of the space, without patches.
        tables: the latency table of each device, bound to the space.
        energy: the same in energy (`LatencyTable.bind_energy`), of the devices that have it.
        memory: RAM and flash on the devices of which they are known.
    """

    def __init__(
        self,
        blocks: BlockMap,
        tables: Mapping[str, BoundTable],
        energy: Mapping[str, BoundTable] | None = None,
        memory: Mapping[str, BlockMemory] | None = None,
    ) -> None:
        self.blocks = blocks
        self.tables = tables
        self._bound = {f"latency_ms@{device}": table for device, table in tables.items()}
        self._bound |= {f"energy_mj@{device}": table for device, table in (energy or {}).items()}
        self._planned = {
            f"{metric}@{device}": (metric, known)
            for device, known in (memory or {}).items()
            for metric in MEMORY
        }

    @classmethod
    def of(
        cls,
        blocks: BlockMap,
        devices: Mapping[str, DeviceSpec],
        tables: Mapping[str, LatencyTable],
        allow_interpolation: bool = False,
    ) -> "Costs":
        """Costs by what is known of devices.

        Args:
            blocks: of the space, without patches.
            devices: by name.
            tables: of each of them.
            allow_interpolation: whether blocks that were not measured are estimated.
        """
        space = blocks.space
        own = {name: blocks_on(device, blocks) for name, device in devices.items()}
        bound = {name: t.bind(space, own[name], allow_interpolation) for name, t in tables.items()}
        energy = {name: table.bind_energy(space, own[name]) for name, table in tables.items()}
        metered = {name: item for name, item in energy.items() if item}
        controllers = [name for name, device in devices.items() if device.kind == "mcu"]
        made = planned(own[controllers[0]]) if controllers else None
        memory = {
            name: made if name in controllers else table.bind_memory(own[name])
            for name, table in tables.items()
        }
        known = {name: item for name, item in memory.items() if item is not None}
        return cls(blocks, bound, metered, known)

    @cached_property
    def _joint(self) -> list[tuple[list[str], JointCost]]:
        """What is counted, what the tables estimate, and the variance of what they interpolate:
        names and look-ups, one for all sums over the same blocks.
        """
        sums = [(name, self.blocks, getattr(self.blocks, name), 0.0) for name in _COUNTED]
        for column, table in self._bound.items():
            constant_ms = table.correction.constant_us / 1e3
            sums.append((column, table.blocks, table.added_us / 1e3, constant_ms))
            if table.units.interpolated.any():
                sums.append((_VARIANCE + column, table.blocks, table.variance_ms2, 0.0))
        made = []
        for blocks in dict.fromkeys(blocks for _, blocks, _, _ in sums):
            names, _, per_unit, constant = zip(*(s for s in sums if s[1] is blocks), strict=True)
            matrix = np.stack([each.astype(float) for each in per_unit], axis=1)
            joint = JointCost(blocks.space, places(blocks), matrix, np.array(constant))
            made.append((list(names), joint))
        return made

    def evaluate(self, archs: Archs) -> Columns:
        """A column for each cost: `macs`, `params`, and as the tables estimate them
        `latency_ms@DEVICE` and, where the table has it, `energy_mj@DEVICE`; where memory is known
        `peak_sram_kib@DEVICE` and `flash_kib@DEVICE`.
        """
        return self._evaluated(archs)[0]

    def with_intervals(self, archs: Archs) -> tuple[Columns, Intervals]:
        """The same, and the ends of the 90 % interval of every column that is estimated.

        All sums over the same blocks, those of several devices, are looked up together.
        """
        columns, sums = self._evaluated(archs)
        none = np.zeros(len(archs))
        intervals = {}
        for column, table in self._bound.items():
            mean_ms = sums[column]
            half_ms = table.half_ms(mean_ms, sums.get(_VARIANCE + column, none))
            intervals[column] = (mean_ms - half_ms, mean_ms + half_ms)
        return columns, intervals

    def _evaluated(self, archs: Archs) -> tuple[Columns, Columns]:
        """The columns, and all sums over blocks."""
        sums: Columns = {}
        for names, joint in self._joint:
            sums |= zip(names, np.ascontiguousarray(joint.cost(archs).T), strict=True)
        counted = {name: sums[name].astype(np.int64) for name in _COUNTED}
        estimated = {column: sums[column] for column in self._bound}
        # Devices of a kind share what is planned.
        found = {(m, known): getattr(known, m)(archs) for m, known in set(self._planned.values())}
        planned = {column: found[asked] for column, asked in self._planned.items()}
        return counted | estimated | planned, sums

    def sources(self) -> dict[str, str]:
        """Where each column's numbers come from."""
        counted = dict.fromkeys(_COUNTED, "counted")
        estimated = {
            column: _ESTIMATED.get(table.source, f"estimated from {table.source} blocks")
            + (", some interpolated" if table.units.interpolated.any() else "")
            for column, table in self._bound.items()
        }
        return counted | estimated | dict.fromkeys(self._planned, "planned by block")

    def reachable(self, column: str) -> tuple[Extreme, Extreme]:
        """The architectures with the least and the most of a cost, over the whole space."""
        if column in self._planned:
            metric, known = self._planned[column]
            return known.reachable(metric)
        (blocks,) = self._maps(column)
        per_unit = self._per_unit(column, blocks)
        least, most = cheapest(blocks, per_unit), cheapest(blocks, -per_unit)
        archs = np.stack([least.arch, most.arch])
        low, high = map(float, self.evaluate(archs)[column])
        return Extreme(least.arch, low), Extreme(most.arch, high)

    def interpolated(self) -> list[str]:
        """A line for each device whose table has blocks that were interpolated."""
        return [
            f"{device}: {table.units.interpolated.sum()} of {len(table.keys)} blocks are "
            f"interpolated; measured ones that were left out it missed by {table.units.error:.1%}"
            for device, table in self.tables.items()
            if table.units.interpolated.any()
        ]

    def check_covered(
        self, devices: Mapping[str, DeviceSpec], named: str, allow_interpolation: bool = False
    ) -> None:
        """Refuse tables that do not hold all blocks of the space.

        Args:
            devices: by the names of the tables.
            named: how `nas profile` is told the space; its name alone has default parameters.
            allow_interpolation: whether what could be interpolated has been.

        Raises:
            InputError: a line for each of them, with the command that fills it.
        """
        problems = []
        for device, table in self.tables.items():
            if not table.missing:
                continue
            command = f"nas profile {named} --device {device}"
            if devices[device].runner is None:
                command = elsewhere_command(device, named)
            problems.append(
                f"device {device!r} has no complete table for space {self.blocks.space.name!r}: "
                f"{len(table.missing)} of {len(table.keys)} blocks missing; run: {command}"
                + (
                    " (too few measured blocks are of their kinds to interpolate them)"
                    if allow_interpolation
                    else ", or set allow_interpolation: true"
                )
            )
        if problems:
            raise InputError(problems)

    def check_known(self, wanted: Sequence[Objective | Constraint], named: str) -> None:
        """Refuse energy that no one metered, and figures that lack the intervals which a
        probability needs.

        Args:
            wanted: what the search is for.
            named: how `nas profile` is told the space.

        Raises:
            InputError: a line for each of them.
        """
        known = {"accuracy", *self.sources()}
        unknown = {item.column: item for item in wanted if item.column not in known}
        problems = [
            f"{column}: the table of {item.device!r} has no memory of blocks, which older releases "
            f"did not keep; run: nas profile {named} --device {item.device} --again"
            if item.metric in MEMORY
            else f"{column}: the table of {item.device!r} lacks the energy of some blocks: nothing "
            "could meter it when they were measured (a CPU needs /sys/class/powercap/"
            "intel-rapl:*/energy_uj, readable for you); where it can be metered, nas profile "
            "with --again adds it; tables brought from other machines have none"
            for column, item in unknown.items()
        ]
        problems += [
            f"{c.column}: its estimates have no interval, so none holds with probability "
            f"{c.probability:g}: the table has no two whole networks of this space; run: nas "
            f"profile {named} --device {c.device}, or remove `probability`"
            for c in wanted
            if isinstance(c, Constraint) and c.probability is not None and c.column in self._bound
            if np.isnan(self._bound[c.column].correction.interval)
        ]
        if problems:
            raise InputError(problems)

    def check_reachable(self, constraints: Sequence[Constraint]) -> None:
        """Refuse bounds that no architecture of the space meets, alone or two of them together.

        Bounds on accuracy can't be checked before anything is trained.

        Raises:
            InputError: a line for each such bound: the reachable value, and what to relax.
        """
        problems = []
        for constraint in constraints:
            if constraint.column not in self.sources():
                continue
            least, most = self.reachable(constraint.column)
            name, chance = constraint.column, _chance(constraint)
            low, high = self._quantiles(constraint)
            if constraint.upper is not None and high * least.value > constraint.upper:
                problems.append(
                    f"constraints: {name} <= {constraint.upper:g}{chance} can't be met: the "
                    f"minimum reachable is {high * least.value:.4g} ({self._words(least)}); raise "
                    "`max` to that or more, or give the space smaller options"
                )
            if constraint.lower is not None and low * most.value < constraint.lower:
                problems.append(
                    f"constraints: {name} >= {constraint.lower:g}{chance} can't be met: the "
                    f"maximum reachable is {low * most.value:.4g}; lower `min` to that or less, or "
                    "give the space larger options"
                )
        if not problems:
            problems = self._conflicts(constraints)
        if problems:
            raise InputError(problems)

    def _conflicts(self, constraints: Sequence[Constraint]) -> list[str]:
        """Pairs of bounds that each could be met, but not together.

        No architecture meets both where even the least of a weighted sum of their excesses is
        above 0. So what is told is certain; a conflict that no weights show is not found, nor one
        of memory, which does not add up, nor one of devices that run different blocks (patches).
        """
        bounds = [
            (f"{c.column} {sign} {bound:g}{_chance(c)}", c.column, bound / quantile, direction)
            for c in constraints
            if c.column in _COUNTED or c.column in self._bound
            for (sign, bound, direction), quantile in zip(
                ((">=", c.lower, -1.0), ("<=", c.upper, 1.0)), self._quantiles(c), strict=True
            )
            if bound is not None and quantile > 0
        ]
        return [
            f"constraints: {first[0]} and {second[0]} can't be met together, though each of them "
            "can: relax one of the two"
            for first, second in combinations(bounds, 2)
            if self._exclude(first[1:], second[1:])
        ]

    def _quantiles(self, constraint: Constraint) -> tuple[float, float]:
        """What is held against `min` and `max`, as multiples of the estimate.

        The spread of blocks that were interpolated comes on top and is left out here: what is
        refused with these can't be met in any case.
        """
        table = self._bound.get(constraint.column)
        if table is None or not constraint.margin:
            return 1.0, 1.0
        away = constraint.margin * table.correction.interval
        return 1.0 - away, 1.0 + away

    def _exclude(self, *bounds: tuple[str, float, float]) -> bool:
        """Whether some weights prove that two bounds exclude each other."""
        maps = self._maps(*(column for column, _, _ in bounds))
        if len(maps) > 1:
            return False
        (blocks,) = maps
        (first, before), (second, after) = (self._excess(*bound, blocks) for bound in bounds)
        return any(
            cheapest(blocks, w * first + (1 - w) * second).value + w * before + (1 - w) * after
            > _CERTAIN
            for w in _WEIGHTS
        )

    def _maps(self, *columns: str) -> set[BlockMap]:
        """The blocks that make up the columns; what is counted adds up over any of them."""
        return {self._bound[name].blocks for name in columns if name in self._bound} or {
            self.blocks
        }

    def _excess(
        self, column: str, bound: float, direction: float, blocks: BlockMap
    ) -> tuple[Float[np.ndarray, " u"], float]:
        """Relative excess over a bound as a sum: what each unit adds, and what stands before it."""
        per_unit, constant = self._per_unit(column, blocks), 0.0
        if column not in _COUNTED:
            per_unit = per_unit / 1e3
            constant = self._bound[column].correction.constant_us / 1e3
        scale = direction / (abs(bound) or 1.0)
        return scale * per_unit, scale * (constant - bound)

    def _per_unit(self, column: str, blocks: BlockMap) -> Float[np.ndarray, " u"]:
        if column in _COUNTED:
            return getattr(blocks, column).astype(float)
        return self._bound[column].added_us

    def _words(self, extreme: Extreme) -> str:
        choices = self.blocks.space.decode(extreme.arch)
        depths = [f"{name} {value}" for name, value in choices.items() if name.count(".") < 2]
        return ", ".join(depths[:8])


def _chance(constraint: Constraint) -> str:
    return "" if constraint.probability is None else f" with probability {constraint.probability:g}"
