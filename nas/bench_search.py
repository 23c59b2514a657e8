"""The problems on which searches can be compared: tables, and the estimates of a run."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from nas.config import DirectExperiment, Experiment, load_any
from nas.config.direct import PythonEvaluatorConfig
from nas.explore import estimate, matrices
from nas.objectives import Objective, to_F, to_G
from nas.own_evaluator import replayed
from nas.results.run import open_run
from nas.search.benchmark import Problem
from search_spaces.errors import InputError
from search_spaces.space import Archs

_Matrices = tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n c"]]


def load_problem(target: Path) -> tuple[Problem, Experiment | DirectExperiment]:
    """What an experiment file or a run's folder lets searches be compared on.

    Args:
        target: a file whose evaluator is a table, the folder of such a run, or that of a run with a
            super-network whose predictor was fitted: then on its estimates.

    Raises:
        InputError: it is none of these.
    """
    if target.is_file():
        experiment = load_any(target)
        if isinstance(experiment, Experiment):
            raise InputError(
                f"{target}: its networks are not known before it ran; give the folder of its run"
            )
        return _of_table(experiment, target), experiment
    results = open_run(target)
    experiment = results.config
    if isinstance(experiment, DirectExperiment):
        return _of_table(experiment, target), experiment
    if "fit" not in results.stages:
        raise InputError(f"{target}: the run has fitted no predictor (yet): continue it first")
    return _of_estimates(experiment, results.folder), experiment


def _of_table(experiment: DirectExperiment, target: Path) -> Problem:
    config = experiment.evaluator
    if isinstance(config, PythonEvaluatorConfig):
        raise InputError(
            f"{target}: every evaluation would call {config.target}; write what it "
            "returned into a table and name that: evaluator: {type: table, file: ...}"
        )
    space, table = experiment.space.create(), replayed(experiment, config, str(Path.cwd()))

    def evaluate(archs: Archs) -> _Matrices:
        columns = table.evaluate(archs)
        return to_F(columns, experiment.objectives), to_G(columns, experiment.constraints)

    held = table.archs if len(table.archs) < space.size() else None
    return Problem(space, evaluate, *_told(experiment.objectives), held)


def _of_estimates(experiment: Experiment, folder: Path) -> Problem:
    from nas.workbench import Workbench

    bench = Workbench(experiment, folder)
    costs, predictor = bench.costs, bench.predictor

    def evaluate(archs: Archs) -> _Matrices:
        return matrices(experiment, estimate(costs, predictor, archs, "search"))

    return Problem(bench.space, evaluate, *_told(experiment.objectives))


def _told(objectives: tuple[Objective, ...]) -> tuple[tuple[float, ...], str]:
    goals = tuple(-1.0 if objective.goal == "max" else 1.0 for objective in objectives)
    return goals, objectives[0].column if len(objectives) == 1 else "hypervolume"
