import numpy as np
import pytest

from experiments.benchmarks.search import print_rows, rows_of


def test_queries_to_the_optimum(capsys):
    values = np.array([1.0, 2.0, 3.0])
    ours = np.full((8, 25), 3.0)
    ours[:, :4] = 1.0
    others = np.full((8, 25), 2.0)
    others[:5, 10:] = 3.0
    rows = rows_of("task", {"auto": ours, "local_search": others}, values)
    needed = {r["method"]: r for r in rows if r["metric"] == "queries_to_optimum"}
    assert needed["ours"]["mean"] == needed["ours"]["within_95"] == 5
    assert needed["local_search"]["mean"] == pytest.approx((5 * 11 + 3 * 26) / 8)
    assert needed["local_search"]["within_95"] == 26
    assert needed["local_search"]["p"] < 0.01
    print_rows(rows)
    assert "5.0, 5" in (printed := capsys.readouterr().out)
    assert "16.6, > 25" in printed
