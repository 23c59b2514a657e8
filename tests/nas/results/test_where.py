import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.results.where import mask
from search_spaces.errors import InputError

_COLUMNS = {
    "latency_ms@cpu": np.array([1.0, 2.0, 3.0, np.nan]),
    "peak_sram_kib@stm32-f7.b": np.array([10.0, 20.0, 30.0, 40.0]),
    "accuracy": np.array([0.5, 0.7, 0.9, 0.95]),
}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("latency_ms@cpu < 2", [1, 0, 0, 0]),
        ("latency_ms@cpu<=2.0", [1, 1, 0, 0]),
        ("2 >= latency_ms@cpu", [1, 1, 0, 0]),
        ("latency_ms@cpu != 2", [1, 0, 1, 0]),
        ("peak_sram_kib@stm32-f7.b == 2e1", [0, 1, 0, 0]),
        ("accuracy > .6 and latency_ms@cpu < 3", [0, 1, 0, 0]),
        ("latency_ms@cpu < 2 or accuracy > 0.8 and latency_ms@cpu < 9", [1, 0, 1, 0]),
        ("(latency_ms@cpu < 2 or accuracy > 0.8) and accuracy < 0.6", [1, 0, 0, 0]),
        ("((accuracy > -1))", [1, 1, 1, 1]),
        ("1 < 2", [1, 1, 1, 1]),
    ],
)
def test_conditions(where, expected):
    np.testing.assert_array_equal(mask(where, _COLUMNS), np.array(expected, bool))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("latency_ms@cpo < 2", r"no column 'latency_ms@cpo'; did you mean 'latency_ms@cpu'\?"),
        ("latency_ms < 2", r"no column 'latency_ms'; did you mean 'latency_ms@cpu'\?"),
        ("zzz < 2", "no column 'zzz'; there are: latency_ms@cpu, "),
        ("accuracy", "expected a comparison such as `<` after 'accuracy'"),
        ("accuracy <", "expected a column or a number after"),
        ("accuracy < and", "expected a column or a number at 'and'"),
        ("(accuracy < 1", r"expected `\)` after"),
        (
            "accuracy < 1 accuracy > 0",
            r"expected `and`, `or` or the end at 'accuracy' \(char.* 14 ",
        ),
        ("accuracy < 1)", "expected `and`, `or` or the end at "),
        ("", "expected a column or a number after ''"),
        ("accuracy < 5ms", r"can't read '5ms' \(character 12 "),
        ("__import__('os').system('x') == 0", "can't read"),
        ("accuracy < 1; drop", "can't read '; drop'"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(where, message):
    with pytest.raises(InputError, match=message) as caught:
        mask(where, _COLUMNS)
    assert len(caught.value.problems) == 1


_CONDITION = st.recursive(
    st.tuples(
        st.sampled_from(sorted(_COLUMNS)),
        st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
        st.sampled_from([0.5, 0.9, 1.0, 2.0, 20.0, -3.0, 1e-7]),
    ),
    lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    max_leaves=6,
)


def _text(condition):
    first, second, third = condition
    if first in ("and", "or"):
        return f"({_text(second)}) {first} ({_text(third)})"
    return f"{first} {second} {third!r}"


def _holds(condition, row):
    first, second, third = condition
    if first in ("and", "or"):
        parts = [_holds(second, row), _holds(third, row)]
        return all(parts) if first == "and" else any(parts)
    value = _COLUMNS[first][row]
    outcome = {"<": value < third, "<=": value <= third, ">": value > third}
    outcome |= {">=": value >= third, "==": value == third, "!=": value != third}
    return outcome[second] and not np.isnan(value)


@given(condition=_CONDITION)
def test_any_condition_means_what_python_means(condition):
    expected = [_holds(condition, row) for row in range(4)]
    assert mask(_text(condition), _COLUMNS).tolist() == expected
