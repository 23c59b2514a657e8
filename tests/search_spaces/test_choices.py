import numpy as np
import pytest

from search_spaces import registry
from search_spaces.choices import Choices
from search_spaces.errors import InputError

SPACE = Choices(
    {"depth": (1, 2, 3), "kernel2": (3, 5), "kernel3": (3, 5, 7), "act": ("relu", "swish")},
    {"kernel2": {"depth": (2, 3)}, "kernel3": {"depth": (3,), "kernel2": (5,)}},
)


def test_knobs_that_are_not_read_are_0_and_left_out() -> None:
    archs = np.array([[0, 1, 2, 1], [1, 1, 2, 0], [2, 0, 2, 0], [2, 1, 2, 0]])
    canonical = [[0, 0, 0, 1], [1, 1, 0, 0], [2, 0, 0, 0], [2, 1, 2, 0]]
    assert SPACE.canonical(archs).tolist() == canonical
    assert SPACE.decode(archs[0]) == {"depth": 1, "act": "swish"}
    assert (
        SPACE.encode({"depth": 3, "kernel2": 5, "kernel3": 7, "act": "relu"}).tolist()
        == (canonical[3])
    )


def test_size_counts_distinct_architectures() -> None:
    sample = SPACE.sample(np.random.default_rng(0), 2000)
    assert SPACE.size() == len(np.unique(sample, axis=0)) == 2 * (1 + 2 + 1 + 3)


def test_equal_spaces_are_looked_up_as_one_and_the_order_of_knobs_counts() -> None:
    assert len({SPACE, Choices(dict(SPACE.options), dict(SPACE.when))}) == 1
    options = {"a": (1, 2), "b": (1, 2)}
    assert Choices(options) != Choices(dict(reversed(options.items())))
    assert Choices(SPACE.options) != SPACE


def test_texts_are_not_ordered() -> None:
    assert [knob.ordered for knob in SPACE.knobs] == [True, True, True, False]


def test_made_by_name() -> None:
    space = registry.create("choices", options={"a": [1, 2]})
    assert space.size() == 2
    with pytest.raises(InputError, match="has no networks"):
        space.build(None)


@pytest.mark.parametrize(
    ("options", "when", "message"),
    [
        ({}, {}, "at least one knob"),
        ({"a": [2, 1]}, {}, "must ascend"),
        ({"a": [1, 2]}, {"b": {"a": [1]}}, r"when\.b: unknown knob 'b'"),
        ({"a": [1, 2], "b": [1]}, {"a": {"b": [1]}}, "stand before 'a'"),
        ({"a": [1, 2], "b": [1]}, {"b": {"a": [3]}}, "must be some of"),
    ],
)
def test_wrong_input(options: dict, when: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        registry.create("choices", options=options, when=when)
