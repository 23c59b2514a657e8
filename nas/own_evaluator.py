"""Evaluators of the user's own: a Python function, or a table of what was measured before."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cached_property
from importlib import import_module
from inspect import signature
from pathlib import Path
from traceback import extract_tb
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from nas.config.direct import DirectExperiment, TableEvaluatorConfig
from nas.distributed import Evaluator
from nas.search.tabular import read_table
from search_spaces.errors import InputError, RunError
from search_spaces.space import Archs, SearchSpace

Function = Callable[..., Mapping[str, float] | None]


class PythonEvaluator:
    """Asks a function for the metrics of one architecture after the other.

    Args:
        space: where they come from.
        function: choices in, metrics out; None where an architecture can't be evaluated. It is
            given a `fidelity` where it takes one.
        metrics: those that are needed; others are kept where they are numbers.
        fidelities: shares of a full evaluation; several where a search asks for them.

    Raises:
        InputError: there are several fidelities, and the function takes none.
    """

    def __init__(
        self,
        space: SearchSpace,
        function: Function,
        metrics: Sequence[str],
        fidelities: Sequence[float] = (1.0,),
    ) -> None:
        self._space = space
        self._function = function
        self._metrics = metrics
        self._fidelities = fidelities
        self._partial = _takes_fidelity(function)
        if len(fidelities) > 1 and not self._partial:
            raise InputError(
                "evaluator.target: takes no argument `fidelity`, which the search needs to ask for "
                "partial evaluations: def evaluate(choices, fidelity), with fidelity in (0, 1]"
            )

    def evaluate(self, archs: Archs) -> dict[str, Float[np.ndarray, " n"]]:
        """A column a metric; NaN where the function returned none.

        Args:
            archs: where there are several fidelities, with the number of one in a last column.

        Raises:
            InputError: it returns something else, or lacks a metric.
            RunError: it raises something, or ends the program.
        """
        k = len(self._space.knobs)
        rungs = archs[:, k] if archs.shape[1] > k else np.full(len(archs), -1)
        found = [
            self._checked(self._space.decode(arch), self._fidelities[rung])
            for arch, rung in zip(archs[:, :k], rungs, strict=True)
        ]
        names = dict.fromkeys([*self._metrics, *(name for row in found for name in row)])
        return {name: np.array([row.get(name, np.nan) for row in found], float) for name in names}

    def _checked(self, choices: dict[str, Any], fidelity: float) -> dict[str, float]:
        metrics = self._asked(choices, {"fidelity": fidelity} if self._partial else {})
        if metrics is None:
            return {}
        if not isinstance(metrics, Mapping):
            raise InputError(f"evaluator: returned {metrics!r}: a dict of metrics is needed")
        missing = [name for name in self._metrics if name not in metrics]
        if missing:
            raise InputError(
                f"evaluator: returned no {missing[0]!r}, which the experiment needs; it returned: "
                f"{', '.join(map(str, metrics)) or 'nothing'}"
            )
        try:
            return {str(name): float(value) for name, value in metrics.items()}
        except (TypeError, ValueError):
            raise InputError(f"evaluator: metrics must be numbers, got {metrics!r}") from None

    def _asked(self, choices: dict[str, Any], more: dict[str, float]) -> Any:
        """What the function returns; what it prints goes to the log, since stdout is the result."""
        try:
            with redirect_stdout(sys.stderr):
                return self._function(choices, **more)
        # A function that ends the program is as wrong as one that raises.
        except (Exception, SystemExit) as error:
            raise RunError(
                f"evaluator: {_told(error)} at {_place(error)} for {choices}: mend it and continue "
                "with --resume (None says that an architecture can't be evaluated)"
            ) from error


class TableEvaluator:
    """Looks architectures up; NaN where the table does not hold them.

    Args:
        space: where they come from.
        file: CSV or parquet.
        metrics: columns that are needed.

    Raises:
        InputError: it can't be read, lacks a column, or holds no architecture of the space.
    """

    def __init__(self, space: SearchSpace, file: Path, metrics: Sequence[str]) -> None:
        self._space = space
        self._table = read_table(file, [knob.name for knob in space.knobs], metrics)
        if not len(self.archs):
            raise InputError(
                f"{file}: no row is an architecture of space {space.name}: its columns need the "
                "knobs' options, and the first one where a knob is not read"
            )

    @cached_property
    def archs(self) -> Archs:
        """What the table holds of the space."""
        rows = _translated(self._table.archs, self._table.space, self._space)
        rows = rows[(rows >= 0).all(axis=1)]
        return rows[(self._space.canonical(rows) == rows).all(axis=1)]

    def evaluate(self, archs: Archs) -> dict[str, Float[np.ndarray, " n"]]:
        """A column a metric."""
        theirs = _translated(archs, self._space, self._table.space)
        known = (theirs >= 0).all(axis=1)
        columns = self._table.evaluate(np.maximum(theirs, 0))
        return {name: np.where(known, values, np.nan) for name, values in columns.items()}


def _translated(archs: Archs, space: SearchSpace, into: SearchSpace) -> Archs:
    """The same options of the same knobs in another space, -1 where it lacks one."""
    out = np.empty_like(archs)
    for i, (own, theirs) in enumerate(zip(space.knobs, into.knobs, strict=True)):
        number = {option: n for n, option in enumerate(theirs.options)}
        out[:, i] = np.array([number.get(option, -1) for option in own.options])[archs[:, i]]
    return out


def replayed(
    experiment: DirectExperiment, config: TableEvaluatorConfig, folder: str
) -> TableEvaluator:
    """The table of an experiment.

    Args:
        experiment: what is searched in it.
        config: of its evaluator.
        folder: where the file is looked for.

    Raises:
        InputError: as `TableEvaluator`.
    """
    file = Path(folder, config.file)
    return TableEvaluator(experiment.space.create(), file, _metrics(experiment))


def make_evaluator(shared: Mapping[str, Any]) -> Evaluator:
    """The evaluator of an experiment, in whatever process.

    Args:
        shared: `experiment`, as plain values, and `folder`, where modules are looked for.

    Raises:
        InputError: the function or the table is not there.
    """
    experiment = DirectExperiment.model_validate(shared["experiment"])
    folder, config = shared["folder"], experiment.evaluator
    if isinstance(config, TableEvaluatorConfig):
        return replayed(experiment, config, folder)
    space = experiment.space.create()
    fidelities = experiment.search.create(space, experiment.seed).fidelities
    function = _function(config.target, folder)
    return PythonEvaluator(space, function, _metrics(experiment), fidelities)


def _metrics(experiment: DirectExperiment) -> list[str]:
    wanted = (*experiment.objectives, *experiment.constraints)
    return list(dict.fromkeys(item.metric for item in wanted))


def _takes_fidelity(function: Function) -> bool:
    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "fidelity" in parameters


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _place(error: BaseException) -> str:
    """File and line that the error comes from."""
    *_, last = extract_tb(error.__traceback__)
    return f"{last.filename}:{last.lineno}"


def _function(target: str, folder: str) -> Function:
    module, _, name = target.partition(":")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise InputError(
            f"evaluator.target: {target}: no module named {error.name!r} here; start nas in the "
            "folder that holds it, or install it"
        ) from None
    except (Exception, SystemExit) as error:
        raise InputError(
            f"evaluator.target: {target}: importing {module} fails: {_told(error)}; try: "
            f"python -c 'import {module}'"
        ) from error
    if not callable(found):
        raise InputError(f"evaluator.target: {module} has no function {name!r}")
    return cast(Function, found)
