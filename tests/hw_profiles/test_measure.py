from itertools import pairwise

import numpy as np
import pytest

from hw_profiles.measure import FEWEST_VISITS, InterruptedTimingError, Policy, Session, Task


class Machine:
    """A clock and tasks on it, slowed down by other work in some stretches of time."""

    def __init__(self, seed: int, busy_share: float = 0.0, slowdown: float = 1.5) -> None:
        self.now_s = 0.0
        self.rng = np.random.default_rng(seed)
        self.busy_share, self.slowdown = busy_share, slowdown
        self.busy, self.until_s = False, 0.0

    def clock(self) -> float:
        return self.now_s

    def work(self, us: float) -> None:
        if self.now_s >= self.until_s:
            self.busy = bool(self.rng.random() < self.busy_share)
            self.until_s = self.now_s + self.rng.exponential(0.01)
        factor = self.slowdown if self.busy else 1.0
        self.now_s += us * 1e-6 * factor * (1 + 0.01 * abs(self.rng.standard_normal()))

    def task(self, name: str, us: float) -> Task:
        return Task(name, lambda: self.work(us))

    def session(self, policy: Policy | None = None) -> Session:
        rng = np.random.default_rng(0)
        return Session(lambda: self.work(30.0), policy or Policy(), rng, self.clock)


@pytest.mark.parametrize("busy_share", [0.0, 0.5, 0.85])
def test_busy_moments_do_not_show_in_the_result(busy_share: float) -> None:
    machine = Machine(1, busy_share)
    tasks = [machine.task(f"t{us}", us) for us in (5.0, 40.0, 300.0, 2000.0)]
    session = machine.session()
    session.run(tasks)
    for task, us in zip(tasks, (5.0, 40.0, 300.0, 2000.0), strict=True):
        timing = session.timing(task)
        assert timing.value_us == pytest.approx(us, rel=0.015)
        assert timing.spread_us < 0.01 * us
        assert timing.settled
        assert timing.visits >= 10
    assert session.noisy() == (busy_share >= 0.5)


def test_the_median_would_have_been_wrong() -> None:
    machine = Machine(1, 0.85)
    times = []
    for _ in range(2000):
        start = machine.clock()
        machine.work(300.0)
        times.append((machine.clock() - start) * 1e6)
    assert np.median(times) > 1.4 * 300


def test_short_tasks_are_timed_together() -> None:
    machine = Machine(0)
    task = machine.task("short", 0.5)
    session = machine.session(Policy(least_s=0.05))
    session.run([task])
    assert task.inner >= 35
    assert session.timing(task).value_us == pytest.approx(0.5, rel=0.02)


def test_a_limit_ends_a_session_that_never_settles() -> None:
    machine = Machine(0)
    policy = Policy(tolerance=0.0, limit_visits=12, least_s=0.0, limit_s=1e9)
    tasks = [machine.task(f"t{i}", 50.0) for i in range(3)]
    machine.session(policy).run(tasks)
    assert [task.visits for task in tasks] == [12, 12, 12]

    slow = [machine.task("slow", 50_000.0)]
    session = machine.session(Policy(tolerance=0.0, limit_visits=10**6, least_s=0.0, limit_s=0.5))
    start_s = machine.clock()
    session.run(slow)
    assert machine.clock() - start_s < 3
    assert session.timing(slow[0]).value_us == pytest.approx(50_000, rel=0.02)
    assert not session.timing(slow[0]).settled


def test_a_machine_that_is_never_quiet_again_gives_every_task_a_value() -> None:
    machine = Machine(0)
    session = machine.session(Policy(least_s=0.0, limit_s=0.5))
    session.run([machine.task("first", 100.0)])
    machine.busy_share, machine.slowdown = 1.0, 3.0
    tasks = [machine.task(f"t{i}", 100.0) for i in range(5)]
    session.run(tasks)
    assert [task.visits for task in tasks] == [FEWEST_VISITS] * 5
    assert not any(session.timing(task).settled for task in tasks)


def test_visits_of_a_task_are_spread_over_the_session() -> None:
    machine = Machine(0)
    order: list[str] = []
    tasks = [
        Task(name, lambda name=name: (order.append(name), machine.work(400.0))) for name in "abc"
    ]
    machine.session().run(tasks)
    changes = sum(a != b for a, b in pairwise(order))
    assert changes >= 20
    runs_of_a = [i for i, name in enumerate(order) if name == "a"]
    assert max(runs_of_a) > 0.8 * len(order)


def test_drift_is_noise() -> None:
    machine = Machine(0)
    session = machine.session(Policy(limit_visits=20, least_s=0.0))
    first = [machine.task(f"t{i}", 100.0) for i in range(5)]
    session.run(first)
    assert not session.noisy()
    machine.busy_share, machine.slowdown = 1.0, 1.05
    session.run([machine.task(f"u{i}", 100.0) for i in range(5)])
    assert session.noisy()


def test_it_stops_when_asked_and_keeps_what_it_has() -> None:
    machine = Machine(0)
    tasks = [machine.task(f"t{i}", 100.0) for i in range(4)]
    session = machine.session()
    rounds: list[tuple[int, int]] = []
    with pytest.raises(InterruptedTimingError):
        session.run(tasks, lambda *now: rounds.append(now), lambda: len(rounds) >= 5)
    assert rounds == [(4, 40), (8, 40), (12, 40), (16, 40), (20, 40)]
    assert session.timing(tasks[0]).visits == 5
    assert not session.timing(tasks[0]).settled
