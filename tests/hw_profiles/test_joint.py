import numpy as np
import pytest

from hw_profiles import joint
from hw_profiles.estimate import Place, places
from hw_profiles.joint import JointCost
from search_spaces import registry
from search_spaces.ir.blocks import BlockMap


@pytest.fixture(scope="module")
def blocks() -> BlockMap:
    return BlockMap(
        registry.create(
            "mobilenet_v3",
            widths=(16, 24),
            strides=(2, 2),
            hswish=(False,) * 2,
            squeeze_excite=(False, True),
        )
    )


@pytest.fixture(params=["C++", "NumPy"])
def language(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Look-ups in either."""

    def none(*_: object, **__: object) -> None:
        raise NotImplementedError

    if request.param == "NumPy":
        monkeypatch.setattr(joint, "load_library", none)
    return request.param


@pytest.mark.parametrize(("most", "sizes"), [(1, 9), (30, 3), (25_000, 4)])
def test_all_sums_are_those_over_blocks(
    monkeypatch: pytest.MonkeyPatch, blocks: BlockMap, language: str, most: int, sizes: int
) -> None:
    """However few positions are looked up together, and whatever the integers are like."""
    monkeypatch.setattr(joint, "_MOST", most)
    monkeypatch.setattr(joint, "_CHUNK", 16)
    space = blocks.space
    # Whole numbers, so that every order of adding them up gives the same.
    per_unit = np.random.default_rng(0).integers(1, 1000, (len(blocks.keys), sizes)).astype(float)
    cost = JointCost(space, places(blocks), per_unit, np.arange(sizes) / 2)
    assert (cost._native is not None) == (language == "C++")
    archs = np.random.default_rng(1).integers(0, space.cardinality[None], (70, len(space.knobs)))
    expected = np.stack([blocks.total(each, archs) for each in per_unit.T], 1)
    expected += np.arange(sizes)[None, :] / 2
    for rows in (
        archs,
        np.asfortranarray(archs),
        archs.astype(np.int8),
        np.asfortranarray(archs, dtype=np.int8),
    ):
        assert np.array_equal(cost.cost(rows), expected)
    assert np.array_equal(cost.cost(archs[:5]), expected[:5])
    assert cost.cost(archs[:0]).shape == (0, sizes)


@pytest.mark.usefixtures("language")
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
