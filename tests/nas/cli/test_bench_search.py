"""bench-search on a table of one's own."""

import csv
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

Nas = Callable[..., Any]

FILE = """\
name: bench
space: {type: choices, options: {a: [1, 2, 3, 4, 5], b: [1, 2, 3, 4, 5], c: [1, 2, 3, 4]}}
evaluator: {type: table, file: table.csv}
objectives: [{metric: accuracy}]
constraints: [{metric: cost, max: 10}]
search: {type: local_search, evaluations: 24, batch: 3}
"""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hundred architectures; the best within the bound is 5, 5, 2."""
    monkeypatch.chdir(tmp_path)
    lines = ["a,b,c,accuracy,cost"]
    for a, b, c in product(range(1, 6), range(1, 6), range(1, 5)):
        lines.append(f"{a},{b},{c},{0.1 * a + 0.05 * b + 0.01 * c},{a + b * c / 2}")
    Path("table.csv").write_text("\n".join(lines))
    Path("bench.yaml").write_text(FILE)
    return tmp_path


def test_compares_searches_on_a_table(nas: Nas, table: Path) -> None:
    arguments = ["bench-search", "bench.yaml", "--seeds", "6", "--curves", "curves.csv"]
    result = nas(*arguments, "--json")
    assert result.code == 0, result.err
    rows = json.loads(result.out)
    assert [row["n"] for row in rows] == [3, 3, 6, 6, 12, 12, 24, 24]
    ours, random = rows[-2:]
    assert (ours["algorithm"], ours["metric"], ours["seeds"]) == ("local_search", "accuracy", 6)
    assert 0.65 < random["mean"] < ours["mean"] <= 0.77 + 1e-9
    assert random["p"] <= 0.05
    assert ours["improvement"] == pytest.approx(100 * (ours["mean"] / 0.475 - 1), abs=2)
    with Path("curves.csv").open() as file:
        curves = list(csv.DictReader(file))
    assert {row["algorithm"] for row in curves} == {"local_search", "random"}
    last = [float(row["value"]) for row in curves if row["evaluations"] == "24"]
    assert sum(last[:6]) / 6 == pytest.approx(ours["mean"])


def test_keeps_searches_to_what_a_sparse_table_holds(nas: Nas, table: Path) -> None:
    lines = Path("table.csv").read_text().splitlines()
    Path("table.csv").write_text("\n".join(lines[:1] + lines[1::9]))
    result = nas("bench-search", "bench.yaml", "--seeds", "2", "--json")
    assert result.code == 0, result.err
    kept = [list(map(float, line.split(",")[3:])) for line in lines[1::9]]
    best = max(accuracy for accuracy, cost in kept if cost <= 10)
    # Each search evaluated all twelve of them.
    assert [row["mean"] for row in json.loads(result.out)[-2:]] == pytest.approx([best, best])


def test_text_names_the_test(nas: Nas, table: Path) -> None:
    result = nas("bench-search", "bench.yaml", "--seeds", "2", "--algorithms", "random,nsga2")
    assert result.code == 0, result.err
    assert "accuracy" in result.out.splitlines()[0]
    assert "p that random is no better (Wilcoxon, Holm)" in result.out


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ("", ["--algorithms", "randm"], "--algorithms: no 'randm'; did you mean 'random'?"),
        ("python", [], "bench.yaml: every evaluation would call json:loads"),
    ],
)
def test_says_what_is_wrong(
    nas: Nas, table: Path, change: str, arguments: list[str], message: str
) -> None:
    if change:
        text = FILE.replace(
            "{type: table, file: table.csv}", '{type: python, target: "json:loads"}'
        )
        Path("bench.yaml").write_text(text)
    result = nas("bench-search", "bench.yaml", *arguments)
    assert result.code == 2
    assert result.err.startswith(message)
