import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.search.proposals import Proposals
from nas.search.seen import Seen
from nas.testing.search_suite import BlockSpace

SMALL = BlockSpace(blocks=3, widths=3)
LARGE = BlockSpace(blocks=40, widths=9)


@pytest.mark.parametrize("space", [SMALL, LARGE])
@given(seed=st.integers(0, 10_000), n=st.integers(0, 60))
def test_is_a_set(space: BlockSpace, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    added, asked = space.sample(rng, n), space.sample(rng, 40)
    seen = Seen(space)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.search.seen._MOST_RECENT", 12)
        for part in np.array_split(added, 3):
            seen.add(seen.codes(part))
    rows = set(map(tuple, added.tolist()))
    assert len(seen) == len(rows)
    expected = [tuple(arch) in rows for arch in asked.tolist()]
    assert seen.contains(seen.codes(asked)).tolist() == expected
    copy = Seen(space)
    copy.load(seen.dump())
    assert copy.contains(seen.codes(asked)).tolist() == expected
    assert copy.dump() == seen.dump()


def test_codes_of_a_space_beyond_64_bits_are_distinct() -> None:
    archs = np.unique(LARGE.sample(np.random.default_rng(0), 20_000), axis=0)
    assert len(np.unique(Seen(LARGE).codes(archs))) == len(archs)


def test_codes_are_the_same_for_ever() -> None:
    """Saved states hold them."""
    assert Seen(SMALL).codes(SMALL.largest()[None]).tolist() == [2186]
    assert Seen(LARGE).codes(LARGE.smallest()[None] + 1).tolist() == [15393513198371341259]


def test_gives_up_on_a_source_that_runs_dry() -> None:
    space = BlockSpace()
    proposals = Proposals(space, Seen(space), 10)
    rounds = []

    def draw(attempt: int, missing: int) -> np.ndarray:
        rounds.append((attempt, missing))
        return space.smallest()[None]

    proposals.fill(draw, rounds=4)
    assert rounds == [(0, 10), (1, 9), (2, 9), (3, 9)]
    assert len(proposals.archs) == 1


def test_what_is_told_beside_a_list_is_remembered_when_the_list_grows() -> None:
    archs = np.unique(SMALL.sample(np.random.default_rng(0), 40), axis=0)
    seen = Seen(SMALL)
    seen.restrict(archs[:5])
    seen.add(seen.codes(archs[4:8]))
    assert seen.permits(seen.codes(archs)).tolist() == [True] * 5 + [False] * (len(archs) - 5)
    assert seen.contains(seen.codes(archs))[:8].tolist() == [False] * 4 + [True] * 4
    seen.restrict(archs)
    assert np.flatnonzero(seen.contains(seen.codes(archs))).tolist() == [4, 5, 6, 7]
