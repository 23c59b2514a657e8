import numpy as np
import pytest

from hw_profiles.measure import Policy, Session, Task
from hw_profiles.provenance import capture
from hw_profiles.sentinels import Sentinels, chosen
from nas.testing.device_suite import SPACE
from search_spaces.ir.count import count


class Memory:
    """A clock; models slow down with the memory, the reference, in the cache, does not."""

    def __init__(self) -> None:
        self.now_s, self.slowdown = 0.0, 1.0
        self.rng = np.random.default_rng(0)

    def task(self, name: str, us: float) -> Task:
        return Task(name, lambda: self.work(us * self.slowdown))

    def work(self, us: float) -> None:
        self.now_s += us * 1e-6 * (1 + 0.005 * abs(self.rng.standard_normal()))

    def session(self) -> Session:
        policy = Policy(visits=6, limit_visits=6, least_s=0.0)
        rng = np.random.default_rng(0)
        return Session(lambda: self.work(30.0), policy, rng, lambda: self.now_s)


def guarded(memory: Memory, slowdowns: list[float]) -> Sentinels:
    session = memory.session()
    sentinels = Sentinels(session, [memory.task(f"s{us}", us) for us in (80.0, 200.0, 700.0)])
    for number, slowdown in enumerate(slowdowns):
        memory.slowdown = slowdown
        tasks = [memory.task(f"t{number}{i}", 100.0) for i in range(4)]
        session.run(tasks, beside=sentinels.tasks)
        sentinels.period_ends(f"{number + 1}")
    return sentinels


def test_a_group_timed_while_memory_was_slow_is_named() -> None:
    sentinels = guarded(Memory(), [1.0, 1.08, 1.0])
    assert not sentinels.session.noisy()
    assert sentinels.slow_groups() == ["2"]
    assert sentinels.drift() == pytest.approx(0.08, abs=0.01)


def test_a_group_timed_again_counts_by_its_last_time() -> None:
    memory = Memory()
    sentinels = guarded(memory, [1.0, 1.08, 1.0])
    memory.slowdown = 1.0
    sentinels.session.run([memory.task("again", 100.0)], beside=sentinels.tasks)
    sentinels.period_ends("2")
    assert sentinels.slow_groups() == []
    assert sentinels.drift() == pytest.approx(0.0, abs=0.01)


def test_a_steady_machine_has_no_drift() -> None:
    sentinels = guarded(Memory(), [1.0, 1.0])
    assert sentinels.slow_groups() == []
    assert sentinels.drift() == pytest.approx(0.0, abs=0.01)


def test_of_a_single_group_the_halves_are_compared() -> None:
    memory = Memory()
    session = memory.session()
    task = memory.task("s", 300.0)
    sentinels = Sentinels(session, [task])

    def on_round(done: int, total: int) -> None:
        memory.slowdown = 1.0 if done < total / 2 else 1.1

    session.run([memory.task("t", 100.0)], on_round, beside=[task])
    sentinels.period_ends("1")
    assert set(sentinels.levels()) == {"first half", "second half"}
    drift = sentinels.drift()
    assert drift is not None
    assert 0.05 < drift < 0.12


def test_sentinels_are_visited_in_every_round() -> None:
    memory = Memory()
    sentinels = guarded(memory, [1.0])
    assert all(task.visits >= 6 for task in sentinels.tasks)


def test_short_sessions_need_none() -> None:
    memory = Memory()
    sentinels = Sentinels(memory.session(), [])
    sentinels.session.run([memory.task("t", 100.0)])
    sentinels.period_ends("1")
    assert sentinels.drift() is None
    assert sentinels.slow_groups() == []
    assert chosen({"a": SPACE.build(SPACE.largest())}, ["a"]) == []


def test_small_middle_and_large_stand_guard() -> None:
    archs = SPACE.sample(np.random.default_rng(0), 13)
    graphs = {f"n{i}": SPACE.build(arch) for i, arch in enumerate(archs)}
    macs = {name: count(graph).macs for name, graph in graphs.items()}
    names = chosen(graphs, list(graphs)[:9])
    assert [macs[name] for name in names] == [
        sorted(list(macs.values())[:9])[place] for place in (0, 4, 8)
    ]
    assert len(chosen(graphs, [])) == 3


def test_drift_is_told_in_the_provenance() -> None:
    done = capture("fake 1", 1).finished(noisy=False, drift=0.05, meter="fake")
    assert (done.drift, done.meter) == (0.05, "fake")
    assert "the machine drifted by 5.0% while it was measured" in done.warnings
    assert not any("drifted" in text for text in done.finished(False, 0.01).warnings)
