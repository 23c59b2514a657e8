from pathlib import Path

import numpy as np
import pytest

from nas.search import registry
from nas.search.random_search import RandomSearch
from nas.search.tabular import Clock, Table, read_table, replay
from search_spaces.choices import Choices
from search_spaces.errors import InputError

SPACE = Choices({"a": (1, 2, 3), "b": ("x", "y")})
# One of six is missing.
ARCHS = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 1]])
TABLE = Table(SPACE, ARCHS, {"accuracy": np.arange(5.0)}, np.array([3.0, 1, 1, 1, 2]))


def matrices(columns):
    return -columns["accuracy"][:, None], np.zeros((len(columns["accuracy"]), 0))


def test_looks_up_and_knows_what_is_missing() -> None:
    assert TABLE.rows(np.array([[2, 1], [2, 0], [0, 0]])).tolist() == [4, -1, 0]
    found = TABLE.evaluate(np.array([[1, 1], [2, 0]]))["accuracy"]
    np.testing.assert_array_equal(found, [3.0, np.nan])


def test_clock_gives_the_next_to_the_first_worker_that_is_free() -> None:
    clock = Clock(workers=2)
    assert clock.run(np.array([3.0, 1, 1, 1, 2])).tolist() == [3.0, 1.0, 2.0, 3.0, 5.0]
    assert clock.elapsed_s == 5.0
    assert clock.run(np.array([1.0])).tolist() == [6.0]


def test_replay_counts_only_what_the_table_holds() -> None:
    trace = replay(TABLE, RandomSearch(SPACE, 0), matrices, queries=5, batch=2)
    assert sorted(trace.rows.tolist()) == [0, 1, 2, 3, 4]
    assert trace.done_s[-1] == TABLE.seconds.sum()
    everything = replay(TABLE, RandomSearch(SPACE, 0), matrices, queries=50, batch=2)
    assert len(everything.rows) == 5


@pytest.mark.parametrize("name", ["auto", "nsga2", "local_search", "regularised_evolution"])
def test_a_search_asks_for_what_a_sparse_table_holds(name):
    space = Choices({f"knob{i}": (1, 2, 3, 4) for i in range(6)})
    rng = np.random.default_rng(0)
    archs = np.unique(space.sample(rng, 40), axis=0)
    table = Table(space, archs, {"accuracy": rng.random(len(archs))}, np.ones(len(archs)))
    told = []

    def noted(columns):
        told.append(columns["accuracy"])
        return matrices(columns)

    trace = replay(table, registry.create(name, space, 0), noted, queries=len(archs), batch=5)
    assert np.array_equal(np.sort(trace.rows), np.arange(len(archs)))
    assert np.isfinite(np.concatenate(told)).all()


def test_replay_stops_when_there_is_enough() -> None:
    trace = replay(
        TABLE, RandomSearch(SPACE, 0), matrices, queries=5, enough=lambda rows: (rows == 4).any()
    )
    assert trace.rows[-1] == 4
    assert 4 not in trace.rows[:-1]


def test_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("width,op,top1,hours\n16,conv,0.5,2\n8,conv,0.4,1\n8,pool,0.3,3\n")
    table = read_table(file, ["width", "op"], ["top1"], "hours")
    assert table.space.knobs[0].options == (8, 16)
    arch = table.space.encode({"width": 8, "op": "pool"})
    assert table.evaluate(arch[None])["top1"] == [0.3]
    assert table.seconds[table.rows(arch[None])] == [3.0]


def test_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("width,op,top1\n8,conv,0.4\n8,pool,0.3\n")
    with pytest.raises(InputError, match="no column 'widht'; did you mean 'width'"):
        read_table(file, ["widht"], ["top1"])
    with pytest.raises(InputError, match="stand there twice"):
        read_table(file, ["width"], ["top1"])
    with pytest.raises(InputError, match=r"no\.csv: no such file"):
        read_table(tmp_path / "no.csv", ["width"], ["top1"])
