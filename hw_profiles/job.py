"""What a session has to time, and what follows from the times: the same wherever they are taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import hypot

from hw_profiles.chains import Plan, plan
from hw_profiles.energy import Energy
from hw_profiles.measure import Timing
from hw_profiles.profilers.base import Measured, Measurement
from hw_profiles.worklist import Unit
from search_spaces.ir.graph import Graph
from search_spaces.ir.passes import fold_batchnorm
from search_spaces.ir.quantize import quantize_for_timing


@dataclass(frozen=True)
class Job:
    """Units and whole networks to measure.

    Args:
        units: blocks, measured in chains.
        networks: measured as they are; batch norm still in them.
        dtype: of the device; with int8 all of them are quantised.
    """

    units: Sequence[Unit]
    networks: Sequence[Graph] = ()
    dtype: str = "float32"

    @cached_property
    def plan(self) -> Plan:
        """The chains of the units, and how the units' costs follow."""
        return plan(self.units)

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """All models to time, by name, without batch norm."""
        whole = (fold_batchnorm(graph) for graph in self.networks)
        graphs = {**self.plan.models, **dict(zip(self.names, whole, strict=True))}
        if self.dtype == "int8":
            # Chains as well as networks, so that the borders of blocks are rounded in both.
            return {name: quantize_for_timing(graph) for name, graph in graphs.items()}
        return graphs

    def measured(
        self,
        known: Mapping[str, Timing],
        complete: bool,
        energy: Mapping[str, Energy] | None = None,
    ) -> Measured:
        """Costs of the units whose models are all known; the networks if all of them are.

        Args:
            known: what is known of the models, by name.
            complete: whether the session came to its end: what it knows is then final.
            energy: of the models, by name, where there was a meter.
        """
        units: dict[str, Measurement] = {}
        for unit in self.units:
            recipe = self.plan.recipes[unit.key]
            if not all(model in known for model in recipe):
                continue
            found = _weighted(unit.key, recipe, known, energy or {}, complete)
            units[unit.key] = replace(found, description=unit.description)
        if not all(name in known for name in self.names):
            return Measured(units)
        whole = [
            _weighted(graph.digest(), {name: 1.0}, known, energy or {}, complete)
            for graph, name in zip(self.networks, self.names, strict=True)
        ]
        return Measured(units, tuple(whole))

    @property
    def names(self) -> list[str]:
        """Of the whole networks."""
        return [f"network{i}" for i in range(len(self.networks))]


def _weighted(
    key: str,
    recipe: Mapping[str, float],
    known: Mapping[str, Timing],
    energy: Mapping[str, Energy],
    complete: bool,
) -> Measurement:
    """The sum of models, each times its factor."""
    parts = [(known[model], factor) for model, factor in recipe.items()]
    found = Measurement(
        key,
        sum(part.value_us * factor for part, factor in parts),
        hypot(*(part.spread_us * factor for part, factor in parts)),
        min(part.n for part, _ in parts),
        settled=complete or all(part.settled for part, _ in parts),
    )
    if not all(model in energy for model in recipe):
        return found
    metered = [(energy[model], factor) for model, factor in recipe.items()]
    return replace(
        found,
        energy_mj=sum(part.value_mj * factor for part, factor in metered),
        energy_spread_mj=hypot(*(part.spread_mj * factor for part, factor in metered)),
    )
