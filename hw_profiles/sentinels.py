"""Whether a machine stayed the same while it was measured: a few models timed all along.

The reference of `measure` sits in the first-level cache and tells busy moments from quiet ones. It
does not see a slower memory or a fuller last-level cache. So in a long session some whole networks
are visited in every round of every group of models, and their times are compared between groups,
or, where there is one group, between the two halves of the session.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hw_profiles.measure import Session, Task
from hw_profiles.provenance import DRIFT
from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph

_MOST = 3
# Fewer models are timed within seconds, all in the same rounds.
_FEWEST_MODELS = 12
_FEWEST_VISITS = 2


def chosen(graphs: Mapping[str, Graph], networks: Sequence[str]) -> list[str]:
    """Names of the models that stand guard: the cheapest, a middle one and the dearest.

    Args:
        graphs: all models of the session, by name.
        networks: those that are whole networks; where there are none, any model may be chosen.
    """
    if len(graphs) < _FEWEST_MODELS:
        return []
    ordered = sorted(networks or graphs, key=lambda name: count(graphs[name]).macs)
    places = np.linspace(0, len(ordered) - 1, min(_MOST, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


@dataclass
class Sentinels:
    """Models timed all along.

    Args:
        session: times them, with all others.
        tasks: loaded for the whole session.
    """

    session: Session
    tasks: Sequence[Task]
    _ends: list[tuple[str, list[int]]] = field(default_factory=list)

    def period_ends(self, group: str) -> None:
        """Note that the models of a group have been timed; again if they are timed again."""
        self._ends.append((group, [task.visits for task in self.tasks]))

    def levels(self) -> dict[str, float]:
        """How slow the sentinels were while each group was last timed; 1 is their mean.

        Of a single group the two halves: `first half`, `second half`. Groups during which no
        sentinel was seen often enough are left out.
        """
        periods: dict[str, list[tuple[int, int]]] = {}
        starts = [0] * len(self.tasks)
        for group, ends in self._ends:
            periods[group] = list(zip(starts, ends, strict=True))
            starts = ends
        if len(periods) == 1:
            (whole,) = periods.values()
            periods = {
                "first half": [(start, (start + end) // 2) for start, end in whole],
                "second half": [((start + end) // 2, end) for start, end in whole],
            }
        levels = {name: self._level(ranges) for name, ranges in periods.items()}
        return {name: level for name, level in levels.items() if np.isfinite(level)}

    def drift(self) -> float | None:
        """Slowest period over fastest, minus 1; None where there is nothing to compare."""
        levels = list(self.levels().values())
        return max(levels) / min(levels) - 1 if len(levels) > 1 else None

    def slow_groups(self) -> list[str]:
        """Groups timed while the machine was slower than in its best period by the threshold."""
        levels = self.levels()
        best = min(levels.values(), default=np.inf)
        return [name for name, level in levels.items() if level > (1 + DRIFT) * best]

    def _level(self, ranges: Sequence[tuple[int, int]]) -> float:
        ratios = []
        for task, (start, end) in zip(self.tasks, ranges, strict=True):
            if end - start >= _FEWEST_VISITS:
                ratios.append(self.session.value_us(task, start, end) / self.session.value_us(task))
        return float(np.median(ratios)) if ratios else float("nan")
