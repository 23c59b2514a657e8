"""What a session has to time, and what follows from the times: the same wherever they are taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot

from hw_profiles.chains import Plan, plan
from hw_profiles.measure import Timing
from hw_profiles.profilers.base import Measured, Measurement
from hw_profiles.worklist import Unit
from search_spaces.ir.graph import Graph
from search_spaces.ir.passes import fold_batchnorm


@dataclass(frozen=True)
class Job:
    """Units and whole networks to measure.

    Args:
        units: blocks, measured in chains.
        networks: measured as they are; batch norm still in them.
    """

    units: Sequence[Unit]
    networks: Sequence[Graph] = ()

    @cached_property
    def plan(self) -> Plan:
        """The chains of the units, and how the units' costs follow."""
        return plan(self.units)

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """All models to time, by name, without batch norm."""
        whole = (fold_batchnorm(graph) for graph in self.networks)
        return {**self.plan.models, **dict(zip(self._names, whole, strict=True))}

    def measured(self, known: Mapping[str, Timing], noisy: bool, complete: bool) -> Measured:
        """Costs of the units whose models are all known; the networks if all of them are.

        Args:
            known: what is known of the models, by name.
            noisy: whether other work disturbed the session.
            complete: whether the session came to its end: what it knows is then final.
        """
        units: dict[str, Measurement] = {}
        for unit in self.units:
            recipe = self.plan.recipes[unit.key]
            if not all(model in known for model in recipe):
                continue
            parts = [(known[model], factor) for model, factor in recipe.items()]
            units[unit.key] = Measurement(
                unit.key,
                sum(part.value_us * factor for part, factor in parts),
                hypot(*(part.spread_us * factor for part, factor in parts)),
                min(part.n for part, _ in parts),
                settled=complete or all(part.settled for part, _ in parts),
                description=unit.description,
            )
        if not all(name in known for name in self._names):
            return Measured(units, (), noisy)
        times = [known[name] for name in self._names]
        whole = [
            Measurement(graph.digest(), t.value_us, t.spread_us, t.n, settled=complete or t.settled)
            for graph, t in zip(self.networks, times, strict=True)
        ]
        return Measured(units, tuple(whole), noisy)

    @property
    def _names(self) -> list[str]:
        return [f"network{i}" for i in range(len(self.networks))]
