"""The policy of timing: take the moments in which the machine is at its best, for all alike.

Other work slows a run down even when it does not interrupt it: a busy sibling of the core, a
neighbour in the cache, a lower clock. On a loaded two-core machine run times had two modes, 1.5x
apart, and low quantiles landed in either. So a short fixed reference is timed before and after
every run, and a run counts only when both were close to the best that the reference reached in the
session. Under load 9 on 2 cores that repeated within 0.5 %; plain 10 % quantiles within 16 %.

Tasks are visited in rounds, in a new random order each, so that slow drifts touch all alike. A
visit is a few warm-up runs and several timed ones. Rounds go on until each task was seen often
enough in quiet moments and its standard error is small, or a limit is reached. While the
reference says that the machine is busy, visits are skipped, which costs next to nothing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np
from jaxtyping import Float

from hw_profiles.provenance import DRIFT

# Of each run: number of the visit, slower of the references beside it (us), its own time (us).
Samples = Float[np.ndarray, "n 3"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How long and how often to time.

    Args:
        visits: quiet visits that every task gets.
        limit_visits: quiet visits after which a task is left as it is.
        warmups: untimed runs at the start of a visit, fewer for slow tasks.
        runs: timed runs of a visit, at least and at most.
        visit_us: time that a visit's runs should fill, between those two.
        tick_us: shorter runs are timed together, so that the clock's resolution does not matter.
        quantile: the statistic of the runs that count.
        tolerance: relative standard error at which a task is settled.
        busy: the reference over its best, above which a run does not count.
        least_s: rounds go on at least so long, to see the machine in more than one mood.
        limit_s: no new round begins after this time.
    """

    visits: int = 10
    limit_visits: int = 40
    warmups: int = 3
    runs: tuple[int, int] = (3, 8)
    visit_us: float = 2000.0
    tick_us: float = 20.0
    quantile: float = 0.25
    tolerance: float = 0.005
    busy: float = 1.03
    least_s: float = 3.0
    limit_s: float = 42.0


# The reference's best is this quantile: a few strokes of luck do not set the bar.
_BEST = 0.02
# Runs that are used when fewer were quiet: those with the best references.
_FEWEST = 8
# The first visits are made whether or not the machine is quiet and the time is up. A task that was
# seen so often has a value.
FEWEST_VISITS = 4
# Over the session: the share of quiet references below which it is noisy.
_QUIET_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Timing:
    """A task's result.

    Args:
        value_us: low quantile of the quiet runs.
        spread_us: its standard error, from the differences between visits.
        n: runs that count.
        visits: quiet visits.
        settled: whether there were enough of them.
    """

    value_us: float
    spread_us: float
    n: int
    visits: int
    settled: bool

    def shared(self, inferences: int) -> "Timing":
        """Of one of so many that a run makes."""
        value_us, spread_us = self.value_us / inferences, self.spread_us / inferences
        return replace(self, value_us=value_us, spread_us=spread_us, n=self.n * inferences)


@dataclass
class Task:
    """Something to time: `run` does it once. What follows `slack` is filled while timing.

    Args:
        name: for the caller.
        run: does it.
        slack: factor of the policy's tolerance.
    """

    name: str
    run: Callable[[], object]
    slack: float = 1.0
    inner: int = 1
    warmup_runs: int = 1
    timed_runs: int = 1
    visits: int = 0
    samples: list[tuple[float, float, float]] = field(default_factory=list)
    judged: tuple[int, float] = (0, 0.0)
    enough: bool = False


def best_of(references_us: Sequence[float]) -> float:
    """What the reference takes on this machine at its best, us."""
    return float(np.quantile(references_us, _BEST))


def summarise(samples: Samples, inner: int, best_us: float, policy: Policy) -> Timing:
    """What the samples of a task say; at least one.

    Args:
        samples: of all its visits.
        inner: runs that were timed together.
        best_us: the reference at its best.
        policy: which samples count, the statistic, and how many visits are enough.
    """
    samples = _counting(samples, policy.busy * best_us)
    times = samples[:, 2]
    value = float(np.quantile(times, policy.quantile))
    by_visit = _quantiles(times, samples[:, 0], policy.quantile)
    visits = len(by_visit)
    # From one visit nothing is known about the others.
    spread = float(np.std(by_visit, ddof=1)) / visits**0.5 if visits > 1 else 0.1 * value
    return Timing(value, spread, len(times) * inner, visits, visits >= policy.visits)


def _quantiles(
    values: Float[np.ndarray, " n"], groups: Float[np.ndarray, " n"], quantile: float
) -> Float[np.ndarray, " groups"]:
    """A quantile within each group, interpolated linearly."""
    ordered = values[np.lexsort((values, groups))]
    _, sizes = np.unique(groups, return_counts=True)
    places = np.cumsum(sizes) - sizes + quantile * (sizes - 1)
    below = np.floor(places).astype(int)
    above = np.ceil(places).astype(int)
    return ordered[below] + (places - below) * (ordered[above] - ordered[below])


def disturbed(references_us: Float[np.ndarray, " n"], best_us: float, policy: Policy) -> bool:
    """Whether quiet moments were rare, or their speed drifted; false while little is known."""
    if len(references_us) < 20:
        return False
    early, late = (np.quantile(half, _BEST) for half in np.array_split(references_us, 2))
    quiet = np.mean(references_us <= policy.busy * best_us)
    return bool(quiet < _QUIET_SHARE or abs(early / late - 1) > DRIFT)


def _counting(samples: Samples, bar_us: float) -> Float[np.ndarray, "quiet 3"]:
    """The runs in quiet moments; where they are too few, those in the least busy ones."""
    quiet = samples[:, 1] <= bar_us
    if quiet.sum() >= _FEWEST:
        return samples[quiet]
    return samples[np.argsort(samples[:, 1], kind="stable")[:_FEWEST]]


class InterruptedTimingError(Exception):
    """Timing was asked to stop."""


class Session:
    """Timing of tasks against one reference.

    Args:
        reference: something short to run, a few tens of microseconds.
        policy: when to stop.
        rng: decides the orders.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        reference: Callable[[], object],
        policy: Policy,
        rng: np.random.Generator,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._reference = reference
        self._policy, self._rng, self._clock = policy, rng, clock
        self._references: list[float] = []
        self._judged = 0
        self.best_us = np.inf

    def run(
        self,
        tasks: Sequence[Task],
        on_round: Callable[[int, int], None] | None = None,
        stopped: Callable[[], bool] = lambda: False,
        limit_s: float | None = None,
        beside: Sequence[Task] = (),
    ) -> None:
        """Time all tasks; ask `timing` for the results, also after an interruption.

        Args:
            tasks: ready to run.
            on_round: told after each round how many visits are done, of how many.
            stopped: asked before each visit.
            limit_s: no new round begins after this time; the policy's if not given.
            beside: tasks that are visited in every round as well, however often that is.

        Raises:
            InterruptedTimingError: `stopped()` was true.
        """
        start = self._clock()
        for task in (*tasks, *beside):
            if not task.visits:
                self._calibrate(task)
        todo = list(tasks)
        while todo:
            visited = [*todo, *beside]
            for i in self._rng.permutation(len(visited)):
                if stopped():
                    raise InterruptedTimingError
                self._visit(visited[i])
            passed_s = self._clock() - start
            if self._judge():
                todo = list(tasks)
            if passed_s >= self._policy.least_s:
                todo = [task for task in todo if not self._enough(task)]
            wanted = self._policy.visits
            left = sum(max(1, wanted - task.visits) for task in todo)
            if on_round is not None:
                on_round(wanted * len(tasks) - left, wanted * len(tasks))
            late = passed_s > (limit_s or self._policy.limit_s)
            if late and all(task.visits >= FEWEST_VISITS for task in todo):
                break

    def timing(self, task: Task) -> Timing:
        """What the visits so far say; at least one."""
        return summarise(np.array(task.samples), task.inner, self.best_us, self._policy)

    def value_us(self, task: Task, start: int = 0, end: int | None = None) -> float:
        """What the visits from `start` to `end` say, all by default; at least one."""
        samples = np.array(task.samples)
        of_these = (samples[:, 0] >= start) & (
            samples[:, 0] < (task.visits if end is None else end)
        )
        return summarise(samples[of_these], task.inner, self.best_us, self._policy).value_us

    def noisy(self) -> bool:
        """Whether quiet moments were rare, or their speed drifted."""
        return disturbed(np.array(self._references), self.best_us, self._policy)

    def _judge(self) -> bool:
        """Set the bar for quiet anew; whether what passed for quiet so far was not."""
        if len(self._references) < 1.02 * self._judged:
            return False
        self._judged = len(self._references)
        before, self.best_us = self.best_us, best_of(self._references)
        return self.best_us < 0.99 * before

    def _enough(self, task: Task) -> bool:
        """Judged anew only where something was learnt: in a busy hour most visits are skipped."""
        if task.visits < self._policy.visits or task.judged == (task.visits, self.best_us):
            return task.enough
        now = self.timing(task)
        tolerance = self._policy.tolerance * task.slack
        narrow = now.settled and now.spread_us <= tolerance * now.value_us
        task.judged = (task.visits, self.best_us)
        task.enough = narrow or now.visits >= self._policy.limit_visits
        return task.enough

    def _visit(self, task: Task) -> None:
        if task.visits >= FEWEST_VISITS and self._time_reference() > (
            self._policy.busy * self.best_us
        ):
            return
        run, inner, clock = task.run, range(task.inner), self._clock
        for _ in range(task.warmup_runs):
            run()
        before = self._time_reference()
        for _ in range(task.timed_runs):
            start = clock()
            for _ in inner:
                run()
            once_us = (clock() - start) * 1e6 / task.inner
            after = self._time_reference()
            task.samples.append((task.visits, max(before, after), once_us))
            before = after
        task.visits += 1

    def _time_reference(self) -> float:
        # Once untimed: after a task the caches hold that task's data, not the reference's.
        self._reference()
        start = self._clock()
        self._reference()
        self._references.append((self._clock() - start) * 1e6)
        return self._references[-1]

    def _calibrate(self, task: Task) -> None:
        """Choose how often a visit runs the task, from its fastest of three runs."""
        times = []
        task.run()
        for _ in range(3):
            start = self._clock()
            task.run()
            times.append(self._clock() - start)
        policy = self._policy
        once_us = max(min(times) * 1e6, 1e-3)
        task.inner = max(1, ceil(policy.tick_us / once_us))
        task.timed_runs = int(np.clip(policy.visit_us / (once_us * task.inner), *policy.runs))
        task.warmup_runs = int(np.clip(policy.visit_us / once_us, 1, policy.warmups * task.inner))
