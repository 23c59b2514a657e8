"""What proxies add to a predictor, on a table with the layout of the published one."""

from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks import zero_cost
from experiments.benchmarks.accuracy_tables import Labelled
from experiments.benchmarks.zero_cost import Proxies
from predictors.zero_cost import ZeroCost
from search_spaces import registry

NAMES = ("useful", "noise")


def table(count: int = 90) -> tuple[Labelled, np.ndarray]:
    """Different networks, and an accuracy that their operations do not tell."""
    rng = np.random.default_rng(0)
    space = registry.create("nasbench201")
    archs = space.sample(rng, count).astype(np.int64)
    y = rng.standard_normal(count)
    macs, runs = np.ones(count), np.zeros(count, np.int64)
    return Labelled("cells", space, archs, {"accuracy": y}, macs, runs, ()), y


def test_no_network_is_drawn_twice() -> None:
    cells, _ = table()
    twice = Labelled(
        cells.name,
        cells.space,
        np.concatenate([cells.archs, cells.archs]),
        {},
        np.ones(180),
        np.zeros(180, np.int64),
        (),
    )
    rows = zero_cost.drawn(twice, 90)
    onehot = cells.space.onehot(twice.archs[rows])
    assert len(np.unique(onehot, axis=0)) == len(rows)
    np.testing.assert_array_equal(rows[:20], zero_cost.drawn(twice, 20))


class _Counting(ZeroCost):
    """Proxies that are sums of an architecture's entries, and how often they were asked for."""

    def __init__(self) -> None:
        self.names = NAMES
        self.asked = 0

    def raw(self, archs: np.ndarray) -> np.ndarray:
        self.asked += 1
        return np.stack([archs.sum(1), archs[:, 0]], 1).astype(np.float64)


def test_proxies_are_kept_by_their_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archs = table(8)[0].archs
    kept = tmp_path / "proxies.jsonl"
    proxies = _Counting()

    def found(batch: int, some: np.ndarray) -> np.ndarray:
        return zero_cost.computed(proxies, some, {"batch": batch}, kept)

    first = found(4, archs[:6])
    np.testing.assert_array_equal(found(4, archs)[:6], first)
    assert proxies.asked == 8
    found(8, archs[:1])
    assert proxies.asked == 9
    assert "network 8/8" in capsys.readouterr().err


def test_what_a_proxy_adds_is_told() -> None:
    cells, y = table()
    values = np.stack([y, np.random.default_rng(1).standard_normal(len(y))], 1)
    known = Proxies(cells.space, NAMES, cells.space.canonical(cells.archs).astype(np.int64), values)
    rows = zero_cost.gains(cells, y, [known.only(["useful"])], ["gaussian_process"], [30, 500], 1)
    told = {row["proxies"]: row for row in rows}
    assert list(told) == ["without", "useful"]
    assert told["without"]["gain"] == 0
    assert told["useful"]["gain"] > 0.3
