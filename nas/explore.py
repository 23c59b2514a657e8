"""The search: ask, estimate, note, tell; every generation is on disk before it counts."""

from collections.abc import Sequence
from itertools import islice

import numpy as np
from jaxtyping import Float

from hw_profiles.intervals import Z_90
from nas.config.schema import Experiment
from nas.costs import Costs
from nas.journal import Record
from nas.log import Log
from nas.objectives import to_F, to_G, views
from nas.pareto import mean_hypervolume, nondominated
from nas.search import registry
from nas.store import RunStore
from nas.trials import Batch
from predictors.base import Predictor
from search_spaces.errors import RunError
from search_spaces.space import Archs


class Explorer:
    """Searches with estimates: the predictor's accuracy, the tables' latency.

    Args:
        experiment: objectives, constraints, algorithm, seed.
        costs: of the space on the devices.
        predictor: of accuracy.
        store: where every generation is noted.
        log: told how far the search is.
    """

    def __init__(
        self, experiment: Experiment, costs: Costs, predictor: Predictor, store: RunStore, log: Log
    ) -> None:
        self.experiment = experiment
        self.costs = costs
        self.predictor = predictor
        self.store = store
        self.log = log

    def run(self, name: str, stage: str) -> None:
        """Search with an algorithm until the evaluations are spent; continue where it stopped."""
        config = self.experiment.search
        parameters = {}
        if registry.accepts(name, "population"):
            parameters["population"] = config.population
        space = self.costs.blocks.space
        algorithm = registry.create(name, space, self.experiment.seed, **parameters)
        spent = 0
        for batch in self._noted(stage):
            algorithm.tell(batch.archs, *matrices(self.experiment, batch))
            spent += len(batch.archs)
        while spent < config.evaluations:
            archs = algorithm.ask(min(config.population, config.evaluations - spent))
            if not len(archs):
                self.log(f"{stage}: all {spent} architectures of the space have been tried")
                break
            batch = estimate(self.costs, self.predictor, archs, stage)
            self.store.append(batch)
            algorithm.tell(archs, *matrices(self.experiment, batch))
            spent += len(archs)
            self.log.progress(stage, spent, config.evaluations)

    def told(self, stage: str) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n c"]]:
        """Objectives and constraints of all that a stage tried, in order."""
        parts = [matrices(self.experiment, batch) for batch in self._noted(stage)]
        F, G = (np.concatenate(each) for each in zip(*parts, strict=True))
        return F, G

    def reference(self) -> Float[np.ndarray, " m"]:
        """The worst of each objective in the search and in random search, and a little beyond."""
        every = np.concatenate([self.told("search")[0], self.told("random")[0]])
        # A little, so that the extremes of a front count as well.
        return every.max(0) + 0.01 * np.ptp(every, axis=0)

    def facts(self) -> dict[str, float]:
        """Hypervolumes of the search and of random search, at equal numbers of evaluations.

        With several devices each is the mean over the devices' own fronts.
        """
        told = {"hypervolume": self.told("search"), "hypervolume_random": self.told("random")}
        n = min(len(F) for F, _ in told.values())
        reference = self.reference()
        volumes = {
            name: mean_hypervolume(F[:n][(G[:n] <= 0).all(1)], reference, self.views.values())
            for name, (F, G) in told.items()
        }
        return {"evaluations": n, **volumes}

    @property
    def views(self) -> dict[str, list[int]]:
        """Positions of the objectives that each device's own front is made of."""
        return views(self.experiment.objectives)

    def front(self, n: int) -> Archs:
        """At most `n` architectures, spread over the front of estimates of each device.

        With several devices the joint front, in all objectives, has a share as well. Where fewer
        are on the front, those that would be without them follow, and so on: what is measured
        differs from the estimates, so that some of these are on the front that is measured.

        Raises:
            RunError: no architecture that meets all constraints was found.
        """
        archs = np.concatenate([batch.archs for batch in self._noted("search")])
        F, G = self.told("search")
        feasible = (G <= 0).all(1)
        if not feasible.any():
            closest = np.maximum(G, 0).sum(1).min()
            raise RunError(
                f"none of the {len(F)} architectures tried meets all constraints; the closest "
                f"misses its bounds by {closest:.1%} in sum: relax the tightest of them"
            )
        archs, F = archs[feasible], F[feasible]
        return archs[by_fronts(F, list(self.views.values()), n)]

    def _noted(self, stage: str) -> list[Batch]:
        records: list[Record] = self.store.journal.records
        chosen = [r for r in records if r["kind"] == "trials" and r["stage"] == stage]
        return [Batch.from_record(record) for record in chosen]


def estimate(costs: Costs, predictor: Predictor, archs: Archs, stage: str) -> Batch:
    """What architectures are thought to be worth and to cost, with the intervals of that."""
    prediction = predictor.predict(costs.blocks.space.computed(archs))
    half = Z_90 * prediction.std
    columns, intervals = costs.with_intervals(archs)
    return Batch(
        stage,
        archs,
        {"accuracy": prediction.mean, **columns},
        {"accuracy": "predicted", **costs.sources()},
        {"accuracy": (prediction.mean - half, prediction.mean + half), **intervals},
    )


def matrices(
    experiment: Experiment, batch: Batch
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n c"]]:
    """Objectives and constraints of what was estimated."""
    F = to_F(batch.columns, experiment.objectives)
    return F, to_G(batch.columns, experiment.constraints, batch.intervals)


def by_fronts(F: Float[np.ndarray, "n m"], views: Sequence[Sequence[int]], n: int) -> np.ndarray:
    """As many rows as asked for: those of `shared_out`, then those of what is left, and so on.

    Returns:
        `n` row numbers, none twice, or all where there are fewer.
    """
    chosen, left = np.zeros(0, int), np.arange(len(F))
    while len(chosen) < min(n, len(F)):
        rows = shared_out(F[left], views, n - len(chosen))
        chosen, left = np.append(chosen, left[rows]), np.delete(left, rows)
    return chosen


def shared_out(F: Float[np.ndarray, "n m"], views: Sequence[Sequence[int]], n: int) -> np.ndarray:
    """Rows of the joint front that are on the fronts of views of the objectives, taken in turns.

    Args:
        F: objectives, minimised.
        views: positions of the objectives that a front is made of; all of them together make one
            more where there are several.
        n: how many rows in all.

    Returns:
        At most `n` row numbers, none twice.
    """
    joint = np.flatnonzero(nondominated(F))
    every = [*views, range(F.shape[1])] if len(views) > 1 else views
    orders = []
    for view in every:
        part = F[joint][:, list(view)]
        front = np.flatnonzero(nondominated(part))
        front = front[np.unique(part[front], axis=0, return_index=True)[1]]
        orders.append(joint[front[spread(part[front], n)]])
    turns = (int(order[i]) for i in range(n) for order in orders if i < len(order))
    return np.array(list(islice(dict.fromkeys(turns), n)), int)


def spread(F: Float[np.ndarray, "n m"], n: int) -> np.ndarray:
    """Rows of a front that cover it: the extremes, then always the one farthest from the chosen.

    Returns:
        At most `n` row numbers.
    """
    scaled = (F - F.min(0)) / np.maximum(np.ptp(F, axis=0), 1e-12)
    chosen = list(dict.fromkeys(int(i) for i in np.argmin(scaled, 0)))[:n]
    distance = np.full(len(F), np.inf)
    while len(chosen) < min(n, len(F)):
        distance = np.linalg.norm(scaled[:, None] - scaled[None, chosen], axis=2).min(1)
        chosen.append(int(np.argmax(distance)))
    return np.array(chosen, int)
