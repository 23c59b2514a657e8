"""Evaluating many networks at once, in this process or in several (Ray actors).

This is the only module that imports ray, and only once workers are asked for.
"""

import logging
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Num

from search_spaces.errors import InputError, RunError
from search_spaces.space import Archs

Columns = dict[str, Num[np.ndarray, " n"]]


@runtime_checkable
class Evaluator(Protocol):
    """Finds out numbers about networks.

    The same networks give the same numbers, in whatever process and however often they are asked
    for: a worker that died may have done its work already, and it is done again.
    """

    def evaluate(self, archs: Archs) -> Columns:
        """A number a network for each column, such as `accuracy`."""
        ...


MakeEvaluator = Callable[[Any], Evaluator]


@contextmanager
def evaluator_pool(
    make: MakeEvaluator, shared: Any, workers: int, *, batch: int = 8, retries: int = 2
) -> Iterator[Evaluator]:
    """An evaluator that spreads its networks over worker processes and keeps their order.

    Batches are the same for every number of workers, so the numbers are too. On leaving, also by an
    exception or Ctrl-C, the workers are stopped.

    Args:
        make: makes the evaluator from `shared`, once in every worker. It must be picklable: a
            module's function, or a `functools.partial` of one.
        shared: what all evaluators need, such as the trained parameters. Workers read NumPy arrays
            in it from shared memory: they are read-only there.
        workers: processes; 0 evaluates in this one, without importing ray.
        batch: networks handed over in one call.
        retries: how often a batch is handed to another worker after one died over it.

    Raises:
        InputError: the number of workers or the batch makes no sense.
    """
    if workers < 0 or batch < 1:
        raise InputError(f"{workers} workers with batches of {batch}: at least 0 and 1 are needed")
    if workers == 0:
        yield _InProcess(make(shared), batch)
        return
    with _ray(workers) as ray:
        yield _Workers(ray, make, ray.put(shared), workers, batch, retries)


@dataclass(frozen=True)
class _InProcess:
    evaluator: Evaluator
    batch: int

    def evaluate(self, archs: Archs) -> Columns:
        return _joined([self.evaluator.evaluate(part) for part in _batches(archs, self.batch)])


class _Workers:
    def __init__(
        self, ray: Any, make: MakeEvaluator, shared: Any, workers: int, batch: int, retries: int
    ) -> None:
        self._ray = ray
        self._make = make
        self._shared = shared
        self._batch = batch
        self._retries = retries
        self._actors: list[Any] = [None] * workers

    def evaluate(self, archs: Archs) -> Columns:
        parts = _batches(archs, self._batch)
        results: list[dict[str, np.ndarray]] = [{} for _ in parts]
        waiting = deque((number, 0) for number in range(len(parts)))
        idle = deque(range(len(self._actors)))
        running: dict[Any, tuple[int, int, int]] = {}
        try:
            while waiting or running:
                while waiting and idle:
                    part, deaths = waiting.popleft()
                    worker = idle.popleft()
                    call = self._actor(worker).evaluate.remote(parts[part])
                    running[call] = (part, deaths, worker)
                [call], _ = self._ray.wait(list(running), num_returns=1)
                part, deaths, worker = running.pop(call)
                try:
                    results[part] = self._ray.get(call)
                except self._ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except self._ray.exceptions.RayActorError as error:
                    self._actors[worker] = None
                    if deaths == self._retries:
                        raise _deadly(len(parts[part]), deaths + 1) from error
                    waiting.append((part, deaths + 1))
                idle.append(worker)
        except BaseException:
            # What still runs would keep its worker from the next call for as long as it takes.
            for _, _, worker in running.values():
                self._ray.kill(self._actors[worker])
                self._actors[worker] = None
            raise
        return _joined(results)

    def _actor(self, worker: int) -> Any:
        if self._actors[worker] is None:
            cores = _cores(worker, len(self._actors))
            actor = self._ray.remote(num_cpus=1, max_restarts=0)(_Actor)
            self._actors[worker] = actor.remote(self._make, self._shared, cores)
        return self._actors[worker]


class _Actor:
    """One worker process."""

    def __init__(self, make: MakeEvaluator, shared: Any, cores: set[int]) -> None:
        # XLA starts as many threads as it may use cores; without this each worker takes them all.
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        self._make = make
        self._shared = shared
        self._evaluator: Evaluator | None = None

    def evaluate(self, archs: Archs) -> Columns:
        # Made here and not in __init__, where an exception would look like a dead worker.
        if self._evaluator is None:
            self._evaluator = self._make(self._shared)
        return self._evaluator.evaluate(archs)


@contextmanager
def _ray(workers: int) -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    with warnings.catch_warnings():
        # Ray forks and at once starts another program, which is safe where JAX has threads.
        warnings.filterwarnings(
            "ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning
        )
        try:
            ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        # A bare one is what Ray raises on a machine that is too busy for it.
        except Exception as error:
            ray.shutdown()
            raise RunError(
                f"the workers did not start: {error}; continue with --resume when the machine is "
                "less busy, or without --workers"
            ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _deadly(n_archs: int, deaths: int) -> RunError:
    return RunError(
        f"a worker died {deaths} times over the same {n_archs} networks; out of memory? "
        "Fewer --workers need less of it"
    )


def _cores(number: int, workers: int) -> set[int]:
    """The share of this process' cores that a worker gets; at least one."""
    if not hasattr(os, "sched_getaffinity"):
        return set()
    cores = sorted(os.sched_getaffinity(0))
    start, stop = (len(cores) * edge // workers for edge in (number, number + 1))
    return set(cores[start:stop]) or {cores[start]}


def _batches(archs: Archs, size: int) -> list[Int[np.ndarray, "_ k"]]:
    return [archs[start : start + size] for start in range(0, len(archs), size)]


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """All columns of all parts; NaN where a part lacks one, as parts of a user's evaluator may."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.concatenate([_column(part, name) for part in parts]) for name in names}


def _column(part: dict[str, np.ndarray], name: str) -> np.ndarray:
    rows = len(next(iter(part.values())))
    return part[name] if name in part else np.full(rows, np.nan)
