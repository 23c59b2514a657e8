"""Tables of architectures and what they measured, replayed as if they were measured now.

So algorithms are compared in seconds, on accuracies that took GPU-years. An architecture that the
table does not hold is a failed evaluation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from nas.search.base import Restrictable, SearchAlgorithm
from nas.search.seen import Seen
from search_spaces.choices import Choices
from search_spaces.errors import InputError
from search_spaces.named import hint
from search_spaces.space import Archs, SearchSpace

Columns = Mapping[str, Float[np.ndarray, " n"]]


@dataclass(frozen=True)
class Table:
    """Evaluated architectures.

    Args:
        space: where they come from.
        archs: canonical and distinct.
        columns: a number an architecture for every metric.
        seconds: what the evaluation of each took.
    """

    space: SearchSpace
    archs: Archs
    columns: Columns
    seconds: Float[np.ndarray, " n"]

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        codes = Seen(self.space).codes(self.archs)
        order = np.argsort(codes)
        return codes[order], order

    def rows(self, archs: Archs) -> Int[np.ndarray, " n"]:
        """Row of each architecture, -1 where the table does not hold it."""
        codes, order = self._sorted
        wanted = Seen(self.space).codes(self.space.canonical(archs))
        at = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
        return np.where(codes[at] == wanted, order[at], -1)

    def evaluate(self, archs: Archs) -> dict[str, Float[np.ndarray, " n"]]:
        """All metrics; NaN where the table does not hold the architecture."""
        rows = self.rows(archs)
        return {name: np.where(rows >= 0, v[rows], np.nan) for name, v in self.columns.items()}


class Clock:
    """The time that replayed evaluations would have taken.

    Args:
        workers: how many architectures are evaluated at a time.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self.elapsed_s = 0.0

    def run(self, seconds: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Evaluate a batch, each on the first worker that is free; all start together.

        Returns:
            when each of them is done.
        """
        free = np.full(self.workers, self.elapsed_s)
        done = np.zeros(len(seconds))
        for i, duration in enumerate(seconds):
            worker = int(np.argmin(free))
            free[worker] += duration
            done[i] = free[worker]
        self.elapsed_s = float(free.max())
        return done


@dataclass(frozen=True)
class Trace:
    """A replayed search.

    Args:
        rows: rows of the table in the order of their evaluation.
        done_s: when each of them was done, in simulated seconds.
    """

    rows: Int[np.ndarray, " q"]
    done_s: Float[np.ndarray, " q"]


def keep_to(algorithm: SearchAlgorithm, space: SearchSpace, archs: Archs) -> None:
    """Keep a search to the architectures that can be evaluated, if it can be kept to some.

    Args:
        algorithm: over the space.
        space: nothing is said to the search where these are all of it.
        archs: canonical and distinct.
    """
    if isinstance(algorithm, Restrictable) and len(archs) < space.size():
        algorithm.restrict(archs)


def replay(
    table: Table,
    algorithm: SearchAlgorithm,
    matrices: Callable[[Columns], tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n c"]]],
    queries: int,
    batch: int = 1,
    workers: int = 1,
    enough: Callable[[Int[np.ndarray, " found"]], bool] = lambda _: False,
) -> Trace:
    """Search in a table until as many of its architectures were evaluated.

    Where the table does not hold all of the space, the algorithm is kept to what it holds; one that
    can't be is told of failures, which don't count.

    Args:
        table: what is replayed.
        algorithm: over the table's space; it goes on from what it was told.
        matrices: F and G of columns.
        queries: architectures to evaluate.
        batch: how many are asked for at a time.
        workers: of the simulated clock.
        enough: told the rows of each batch; true where nothing is left to be found.

    Returns:
        what was evaluated; fewer than `queries` where the algorithm had no more.
    """
    clock, rows, done_s = Clock(workers), [np.zeros(0, np.int64)], [np.zeros(0)]
    spent = 0
    keep_to(algorithm, table.space, table.archs)
    while spent < queries:
        archs = algorithm.ask(min(batch, queries - spent))
        if not len(archs):
            break
        algorithm.tell(archs, *matrices(table.evaluate(archs)))
        found = table.rows(archs)
        found = found[found >= 0]
        rows.append(found)
        done_s.append(clock.run(table.seconds[found]))
        spent += len(found)
        if enough(found):
            break
    return Trace(np.concatenate(rows), np.concatenate(done_s))


def read_table(
    file: Path,
    knobs: Sequence[str],
    columns: Sequence[str],
    seconds: str | None = None,
) -> Table:
    """A CSV or parquet file as a table over a space of its own (`Choices`).

    Args:
        file: a row an architecture.
        knobs: columns of numbers or texts that describe the architecture.
        columns: its metrics.
        seconds: column of what an evaluation took, or a fixed number; 1 s by default.

    Raises:
        InputError: the file can't be read, lacks a column, or lists an architecture twice.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: can't be read as a table ({error})") from None
    named = [*knobs, *columns, *([seconds] if seconds else [])]
    problems = [f"{file}: no column {n!r}; {hint(n, frame)}" for n in named if n not in frame]
    if problems or not knobs:
        raise InputError(problems or f"{file}: name the columns that are knobs")
    options = {name: tuple(sorted(frame[name].unique().tolist())) for name in knobs}
    space = Choices(options)
    archs = np.stack(
        [np.searchsorted(np.array(options[name]), frame[name].to_numpy()) for name in knobs], axis=1
    )
    if len(np.unique(archs, axis=0)) < len(archs):
        raise InputError(f"{file}: some architectures stand there twice: name all their columns")
    took = frame[seconds].to_numpy(float) if seconds else np.ones(len(frame))
    return Table(space, archs, {n: frame[n].to_numpy(float) for n in columns}, took)
