import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.labels import LEAST_DISTINCT, check_archs, folds, group, hold_out
from search_spaces.errors import InputError


@given(
    st.integers(LEAST_DISTINCT, 60), st.integers(1, 4), st.floats(0.01, 0.99), st.integers(0, 99)
)
def test_no_network_is_in_both_parts(distinct, repeats, share, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(distinct), repeats))
    train, test = hold_out(groups, share, seed)
    assert sorted([*train, *test]) == list(range(len(groups)))
    assert not set(groups[train]) & set(groups[test])
    assert len(set(groups[train])) >= 5
    assert len(set(groups[test])) >= 2


@given(st.integers(5, 60), st.integers(1, 4), st.integers(0, 99))
def test_folds_are_even_and_keep_a_network_together(distinct, repeats, seed):
    groups = 7 * np.random.default_rng(seed).permutation(np.repeat(np.arange(distinct), repeats))
    fold = folds(groups, 5, seed)
    held = [set(groups[fold == i]) for i in range(5)]
    assert sum(map(len, held)) == distinct
    assert max(map(len, held)) - min(map(len, held)) <= 1


def test_equal_features_are_one_network():
    x = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    first, second, third = group(x)
    assert first == third != second


@pytest.mark.parametrize("archs", [[[0, 3]], [[-1, 0]], [[0, 0, 0]]])
def test_architectures_of_another_space_are_refused(archs):
    with pytest.raises(InputError, match="architectures"):
        check_archs(np.array([2, 3]), np.array(archs))
