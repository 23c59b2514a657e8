import numpy as np
import pytest

from hw_profiles import joint
from hw_profiles.estimate import Place, places
from hw_profiles.joint import JointCost
from search_spaces import registry
from search_spaces.ir.blocks import BlockMap
from search_spaces.space import SearchSpace


def sums(space: SearchSpace, sizes: int = 3) -> tuple[BlockMap, np.ndarray, JointCost]:
    """Whole numbers, so that every order of adding them up gives the same."""
    blocks = BlockMap(space)
    per_unit = np.random.default_rng(0).integers(1, 1000, (len(blocks.keys), sizes)).astype(float)
    return blocks, per_unit, JointCost(space, places(blocks), per_unit, np.arange(sizes) / 2)


@pytest.mark.parametrize("most", [1, 30, 25_000])
def test_all_sums_are_those_over_blocks(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """However few positions are looked up together, and whatever the integers are like."""
    monkeypatch.setattr(joint, "_MOST", most)
    monkeypatch.setattr(joint, "_CHUNK", 16)
    space = registry.create(
        "mobilenet_v3",
        widths=(16, 24),
        strides=(2, 2),
        hswish=(False,) * 2,
        squeeze_excite=(False, True),
    )
    blocks, per_unit, cost = sums(space)
    archs = np.random.default_rng(1).integers(0, space.cardinality[None], (70, len(space.knobs)))
    expected = np.stack([blocks.total(each, archs) for each in per_unit.T], 1)
    expected += np.arange(3)[None, :] / 2
    for rows in (
        archs,
        np.asfortranarray(archs),
        archs.astype(np.int8),
        np.asfortranarray(archs, dtype=np.int8),
    ):
        assert np.array_equal(cost.cost(rows), expected)
    assert np.array_equal(cost.cost(archs[:5]), expected[:5])
    assert cost.cost(archs[:0]).shape == (0, 3)


def test_blocks_that_no_knob_decides_on_and_units_that_are_not_known() -> None:
    space = registry.create("nasbench_macro")
    fixed = Place((), np.array([0]))
    chosen = Place((1,), np.array([-1, 1, 2]))
    per_unit = np.array([[7.0], [np.nan], [3.0]])
    archs = np.array([[0, option] + [0] * (len(space.knobs) - 2) for option in range(3)])
    found = JointCost(space, [fixed, chosen], per_unit, np.zeros(1)).cost(archs)[:, 0]
    np.testing.assert_array_equal(found, [7.0, np.nan, 10.0])
    alone = JointCost(space, [fixed], per_unit, np.zeros(1)).cost(archs)[:, 0]
    np.testing.assert_array_equal(alone, [7.0] * 3)
