"""A run whose networks the user evaluates: ask, evaluate, note, tell.

Every evaluation is on disk before it counts; a run that was killed goes on inside the batch where
it stopped, and ends in the same result.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from nas.config.direct import DirectExperiment, TableEvaluatorConfig
from nas.distributed import Evaluator, evaluator_pool
from nas.log import Log
from nas.objectives import to_F, to_G
from nas.own_evaluator import make_evaluator, replayed
from nas.results.run import open_run
from nas.search.base import AtFullFidelity, FidelitySearch
from nas.search.tabular import keep_to
from nas.store import RunStore
from nas.trials import Batch
from search_spaces.errors import InputError, RunError
from search_spaces.space import Archs

STAGE = "search"
# Shares of evaluations are added up.
_ROUNDING = 1e-9


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
    algorithm = _algorithm(experiment, shared["folder"])
    with evaluator_pool(make_evaluator, shared, workers, batch=1) as pool:
        spent = _search(experiment, algorithm, pool, store, log, max(workers, 1))
    table = store.trials(STAGE)
    if table.empty:
        raise RunError(
            f"{spent:.4g} evaluations' worth were spent and no architecture was evaluated in full: "
            "allow more search.evaluations, or fewer search.rungs"
        )
    front = open_run(store.folder).pareto(stage=STAGE)
    names = [objective.column for objective in experiment.objectives]
    if not np.isfinite(table[names]).all(axis=1).any():
        raise RunError(
            f"none of the {len(table)} architectures has a number for each of {', '.join(names)}: "
            "the evaluator returned None, NaN or infinity for all of them; mend it and start a new "
            "run"
        )
    if front.empty:
        raise RunError(
            f"none of the {len(table)} architectures evaluated meets all constraints: relax them, "
            "or allow more search.evaluations in a new run"
        )
    store.write_pareto(front, by=experiment.objectives[0].column)
    partly = {"spent": round(spent, 6)} if len(algorithm.fidelities) > 1 else {}
    store.mark_done(STAGE, evaluations=len(table), front=len(front), **partly)


def _algorithm(experiment: DirectExperiment, folder: str) -> FidelitySearch:
    """The search, kept to what the table holds where there is one."""
    space, config = experiment.space.create(), experiment.evaluator
    algorithm = experiment.search.create(space, experiment.seed)
    if isinstance(config, TableEvaluatorConfig) and isinstance(algorithm, AtFullFidelity):
        keep_to(algorithm.algorithm, space, replayed(experiment, config, folder).archs)
    return algorithm


def _search(
    experiment: DirectExperiment,
    algorithm: FidelitySearch,
    pool: Evaluator,
    store: RunStore,
    log: Log,
    at_a_time: int,
) -> float:
    """Ask and tell until the evaluations are spent.

    Returns:
        how many that was, partial ones by their shares. A batch that what is left does not pay for
        is cut, and is the last.
    """
    config, fidelities = experiment.search, algorithm.fidelities
    noted = _Noted(store, len(experiment.space.create().knobs), fidelities)
    spent, told = 0.0, 0
    while (left := config.evaluations - spent + _ROUNDING) >= fidelities[0]:
        n = min(config.batch, int(left / fidelities[0]))
        archs, rungs = noted.archs(told, n)
        done = len(archs)
        if done < n:
            asked, asked_rungs = algorithm.ask(n)
            paid = np.cumsum(np.array(fidelities)[asked_rungs]) <= left
            asked, asked_rungs = asked[paid], asked_rungs[paid]
            if not np.array_equal(asked[:done], archs) or any(asked_rungs[:done] != rungs):
                raise InputError(
                    f"{store.folder}: its evaluations are not those of this experiment and this "
                    "version of the program; start a new run"
                )
            archs, rungs = asked, asked_rungs
        if not len(archs):
            break
        for start in range(done, len(archs), at_a_time):
            rows = slice(start, start + at_a_time)
            _evaluate(archs[rows], rungs[rows], fidelities, pool, store)
            paid_for = spent + np.array(fidelities)[rungs[: start + at_a_time]].sum()
            log.progress(STAGE, int(paid_for + _ROUNDING), config.evaluations)
        columns = noted.columns(told, len(archs))
        F, G = to_F(columns, experiment.objectives), to_G(columns, experiment.constraints)
        algorithm.tell(archs, rungs, F, G)
        told += len(archs)
        spent += float(np.array(fidelities)[rungs].sum())
        if len(archs) < n:
            break
    else:
        return spent
    log(f"{STAGE}: nothing is left to evaluate after {spent:.4g} evaluations")
    return spent


def _evaluate(
    archs: Archs,
    rungs: Int[np.ndarray, " n"],
    fidelities: tuple[float, ...],
    pool: Evaluator,
    store: RunStore,
) -> None:
    """Evaluate some architectures and note them, a record for each fidelity."""
    rows = archs if len(fidelities) == 1 else np.column_stack([archs, rungs])
    columns = pool.evaluate(rows)
    ends = [*(np.flatnonzero(np.diff(rungs)) + 1), len(archs)]
    for start, stop in zip([0, *ends], ends, strict=False):
        part = {name: values[start:stop] for name, values in columns.items()}
        stage = _stage(fidelities[rungs[start]])
        store.append(Batch(stage, archs[start:stop], part, dict.fromkeys(part, "measured")))


def _stage(fidelity: float) -> str:
    """Full evaluations are the search's; those of each lower fidelity stand apart."""
    return STAGE if fidelity == 1 else f"fidelity {fidelity:.4g}"


class _Noted:
    """What the journal holds, one architecture after the other whatever the records' lengths."""

    def __init__(self, store: RunStore, knobs: int, fidelities: tuple[float, ...]) -> None:
        self._records = store.journal.records
        self._knobs = knobs
        self._rung_of = {_stage(fidelity): i for i, fidelity in enumerate(fidelities)}
        self._read = 0
        self._archs: list[list[int]] = []
        self._rungs: list[int] = []
        self._metrics: list[dict[str, float]] = []

    def archs(self, start: int, n: int) -> tuple[Archs, Int[np.ndarray, " n"]]:
        """Those of a range that were evaluated, and at which fidelity."""
        self._catch_up()
        found = self._archs[start : start + n]
        archs = np.array(found, np.int64).reshape(len(found), self._knobs)
        return archs, np.array(self._rungs[start : start + n], np.int64)

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
                self._rungs += [self._rung_of[batch.stage]] * len(batch.archs)
                columns = {name: values.tolist() for name, values in batch.columns.items()}
                self._metrics += [
                    {name: values[i] for name, values in columns.items()}
                    for i in range(len(batch.archs))
                ]
        self._read = len(self._records)
