from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest

from nas.testing.predictor_suite import SPACE
from predictors.tokens import Tokens, tokens_of
from search_spaces import registry
from search_spaces.nasbench201 import NasBench201
from search_spaces.space import Knob, SearchSpace


def cell(**choices):
    space = NasBench201()
    return space.encode({"resolution": 32, **{f"e{e}": "none" for e in (10, 20, 21, 30, 31, 32)}}
                        | {f"e{k[1:]}": v for k, v in choices.items()})  # fmt: skip


def test_copies_of_a_cell_are_one_and_dead_edges_carry_nothing():
    tokens = tokens_of(NasBench201())
    assert tokens.shape[0] == 6
    conv, skip = "nor_conv_3x3", "skip_connect"
    # e10 and e21 lead to node 2, from where nothing goes on.
    rows = tokens(
        np.stack([cell(e10=conv, e21=conv, e30=skip), cell(e10=conv, e21=skip, e32=conv)])
    )
    alive = np.diagonal(rows.flow, axis1=1, axis2=2)
    assert alive.tolist() == [[0, 0, 0, 1, 0, 0], [1, 0, 1, 0, 0, 1]]
    assert np.all((rows.values != 0).any(2) == alive.astype(bool))
    e10, e21, e32 = 0, 2, 5
    assert rows.flow[1, e10, e21] == rows.flow[1, e21, e32] == 2
    assert rows.flow[1, e10, e32] == 1
    assert rows.flow[1, e32, e10] == 0


def test_parallel_edges_do_not_feed_one_another():
    rows = tokens_of(NasBench201())(np.stack([cell(e10="nor_conv_3x3", e31="nor_conv_3x3",
                                                   e30="nor_conv_1x1")]))  # fmt: skip
    e10, e30, e31 = 0, 3, 4
    assert rows.flow[0, e10, e31] == 2
    assert rows.flow[0, e10, e30] == rows.flow[0, e30, e31] == 0


def test_a_chain_skips_absent_blocks():
    archs = np.stack([SPACE.smallest(), SPACE.largest()])
    rows = tokens_of(SPACE)(archs)
    assert np.diagonal(rows.flow, axis1=1, axis2=2).sum(1).tolist() == [1, SPACE.blocks]
    steps = rows.flow[1]
    assert np.all(np.diagonal(steps, 1) == 2)
    assert np.all(steps[np.triu_indices(SPACE.blocks, 2)] == 1)
    assert not np.tril(steps, -1).any()


@pytest.mark.parametrize("name", ["nasbench_macro", "keyword_spotting"])
def test_tokens_do_not_depend_on_company_and_tell_architectures_apart(name):
    space = registry.create(name)
    archs = np.unique(space.sample(np.random.default_rng(0), 100), axis=0)
    whole, part = tokens_of(space)(archs), tokens_of(space)(archs[3:5])
    assert np.array_equal(whole.values[3:5], part.values)
    assert np.array_equal(whole.flow[3:5], part.flow)
    assert len(np.unique(whole.values.reshape(len(archs), -1), axis=0)) == len(archs)


@dataclass(frozen=True)
class Choices(SearchSpace):
    name = "choices"
    version = 1
    has_networks = False

    @cached_property
    def knobs(self):
        return (Knob("a", (1, 2, 3)), Knob("b", ("x", "y"), ordered=False))

    def active(self, archs):
        return np.ones(archs.shape, bool)


def test_where_only_choices_are_known_every_knob_is_a_token():
    tokens = Tokens(Choices())
    rows = tokens(np.array([[0, 0], [2, 0], [2, 1]]))
    assert tokens.shape[0] == 2
    assert np.all(np.diagonal(rows.flow, axis1=1, axis2=2) == 1)
    assert len(np.unique(rows.values.reshape(3, -1), axis=0)) == 3
