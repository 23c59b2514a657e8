"""A run whose networks the user evaluates: ask, evaluate, note, tell.

Every evaluation is on disk before it counts; a run that was killed goes on inside the batch where
it stopped, and ends in the same result.
"""

from pathlib import Path

import numpy as np

from nas.config.direct import DirectExperiment
from nas.distributed import Evaluator, evaluator_pool
from nas.log import Log
from nas.objectives import to_F, to_G
from nas.own_evaluator import make_evaluator
from nas.results.run import open_run
from nas.search import registry
from nas.search.base import SearchAlgorithm
from nas.store import RunStore
from nas.trials import Batch
from search_spaces.errors import InputError, RunError
from search_spaces.space import Archs

STAGE = "search"


def run(experiment: DirectExperiment, store: RunStore, log: Log, workers: int = 0) -> None:
    """Do what is left of a run.

    Args:
        experiment: what to do.
        store: the run's folder, new or to be continued.
        log: told what happens.
        workers: processes that evaluate; 0 for this one.

    Raises:
        InputError: the evaluator is not there, or returns what is no metric.
        RunError: nothing that was evaluated meets the constraints.
    """
    if store.done(STAGE):
        log(f"{STAGE}: done before")
        return
    shared = {
        "experiment": experiment.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "folder": str(Path.cwd()),
    }
    algorithm = registry.create(experiment.search.type, experiment.space.create(), experiment.seed)
    with evaluator_pool(make_evaluator, shared, workers, batch=1) as pool:
        _search(experiment, algorithm, pool, store, log, max(workers, 1))
    table = store.trials(STAGE)
    front = open_run(store.folder).pareto(stage=STAGE)
    if front.empty:
        raise RunError(
            f"none of the {len(table)} architectures evaluated meets all constraints: relax them, "
            "or allow more search.evaluations in a new run"
        )
    store.write_pareto(front, by=experiment.objectives[0].column)
    store.mark_done(STAGE, evaluations=len(table), front=len(front))


def _search(
    experiment: DirectExperiment,
    algorithm: SearchAlgorithm,
    pool: Evaluator,
    store: RunStore,
    log: Log,
    at_a_time: int,
) -> None:
    config, noted = experiment.search, _Noted(store, len(experiment.space.create().knobs))
    spent = 0
    while spent < config.evaluations:
        n = min(config.batch, config.evaluations - spent)
        done = noted.archs(spent, n)
        archs = done if len(done) == n else algorithm.ask(n)
        if not len(archs):
            log(f"{STAGE}: all {spent} architectures of the space have been evaluated")
            return
        if not np.array_equal(archs[: len(done)], done):
            raise InputError(
                f"{store.folder}: its evaluations are not those of this experiment and this "
                "version of the program; start a new run"
            )
        for start in range(len(done), len(archs), at_a_time):
            part = archs[start : start + at_a_time]
            columns = pool.evaluate(part)
            store.append(Batch(STAGE, part, columns, dict.fromkeys(columns, "measured")))
            log.progress(STAGE, spent + start + len(part), config.evaluations)
        columns = noted.columns(spent, len(archs))
        F, G = to_F(columns, experiment.objectives), to_G(columns, experiment.constraints)
        algorithm.tell(archs, F, G)
        spent += len(archs)


class _Noted:
    """What the journal holds, one architecture after the other whatever the records' lengths."""

    def __init__(self, store: RunStore, knobs: int) -> None:
        self._records = store.journal.records
        self._knobs = knobs
        self._read = 0
        self._archs: list[list[int]] = []
        self._metrics: list[dict[str, float]] = []

    def archs(self, start: int, n: int) -> Archs:
        """Those of a range that were evaluated."""
        self._catch_up()
        found = self._archs[start : start + n]
        return np.array(found, np.int64).reshape(len(found), self._knobs)

    def columns(self, start: int, n: int) -> dict[str, np.ndarray]:
        """Metrics of a range; NaN where one was not evaluated."""
        self._catch_up()
        rows = self._metrics[start : start + n]
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}

    def _catch_up(self) -> None:
        for record in self._records[self._read :]:
            if record["kind"] == "trials":
                batch = Batch.from_record(record)
                self._archs += batch.archs.tolist()
                columns = {name: values.tolist() for name, values in batch.columns.items()}
                self._metrics += [
                    {name: values[i] for name, values in columns.items()}
                    for i in range(len(batch.archs))
                ]
        self._read = len(self._records)
