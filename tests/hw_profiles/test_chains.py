import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_profiles.chains import LONG, SHORT, chain, plan
from hw_profiles.device import DeviceSpec
from hw_profiles.worklist import Unit, missing, unit_keys, worklist
from nas.testing.device_suite import FAKE, SPACE
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count
from search_spaces.ir.graph import DType, Graph, TensorType
from search_spaces.ir.ops import make_node
from search_spaces.ir.quantize import quantize_for_timing
from search_spaces.ir.verify import verify

BLOCKS = BlockMap(SPACE)
UNITS = worklist(BLOCKS, FAKE)
PLAN = plan(UNITS)


def cost(graph: Graph) -> float:
    """Any cost that is a sum over nodes, plus one for the call."""
    return 1.0 + sum(len(node.op) + node.out.size**0.5 for node in graph.nodes)


def block_cost(unit: Unit) -> float:
    return (
        cost(unit.graph)
        - 1
        - sum(
            len(node.op) + node.out.size**0.5
            for node in unit.graph.nodes
            if node.op == "batch_norm"
        )
    )


@given(st.integers(0, 2**32 - 1))
def test_costs_that_add_up_are_recovered_exactly(seed: int) -> None:
    arch = SPACE.sample(np.random.default_rng(seed), 1)
    plans = PLAN
    times = {digest: cost(model) for digest, model in plans.models.items()}
    values = {
        key: sum(times[model] * factor for model, factor in recipe.items())
        for key, recipe in plans.recipes.items()
    }
    rows = [row for row in BLOCKS.index(arch)[0] if row >= 0]
    wanted = 1 + sum(block_cost(UNITS[row]) for row in rows)
    assert sum(values[UNITS[row].key] for row in rows) == pytest.approx(wanted, rel=1e-12)


def test_models_are_networks_without_batch_norm() -> None:
    plans = PLAN
    assert set(plans.recipes) == {unit.key for unit in UNITS}
    for model in plans.models.values():
        verify(model)
        assert all(node.op != "batch_norm" for node in model.nodes)


def test_a_block_that_follows_itself_is_a_slope() -> None:
    unit = next(u for u in UNITS if u.description.startswith("s1/b1"))
    recipe = plan([unit]).recipes[unit.key]
    assert sorted(recipe.values()) == pytest.approx([-1 / (LONG - SHORT), 1 / (LONG - SHORT)])


def test_a_chain_holds_copies_with_weights_of_their_own() -> None:
    unit = next(u for u in UNITS if u.description.startswith("s0/b0"))
    from search_spaces.ir.passes import fold_batchnorm

    block = fold_batchnorm(unit.graph)
    one, four = chain(block, 1), chain(block, 4)
    assert count(four).params - count(one).params == 3 * count(block).params
    assert len({node.name for node in four.nodes}) == len(four.nodes)


def test_the_ends_read_the_image_and_make_the_logits() -> None:
    stems = [u for u in UNITS if u.description.startswith("stem")]
    heads = [u for u in UNITS if u.description.startswith("head")]
    assert len(stems) == len(heads) == 2
    assert all(u.raw == {"x0"} and not u.final and u.key.endswith("/in") for u in stems)
    assert all(u.final and not u.raw and u.key.endswith("/out") for u in heads)
    assert sum(bool(u.raw) or u.final for u in UNITS) == 4


def test_blocks_with_two_inputs_and_vectors_are_measured_too() -> None:
    x, gate = TensorType((4, 4, 8)), TensorType((1, 1, 8))
    mul = make_node("mul", "mul", {"x0": x, "x1": gate}, {})
    vector = TensorType((6,))
    dense = make_node("fc", "dense", {"x0": vector}, {"features": 5, "bias": True})
    units = [
        Unit("two", Graph({"x0": x, "x1": gate}, (mul,), ("mul",))),
        Unit("vector", Graph({"x0": vector}, (dense,), ("fc",))),
    ]
    plans = plan(units)
    for model in plans.models.values():
        verify(model)
    for recipe in plans.recipes.values():
        # A call's cost is in every model: what is left of it is a half for each open end.
        assert sum(recipe.values()) == pytest.approx(0.0)


def test_worklist_is_exact_and_named_alike_everywhere() -> None:
    assert tuple(unit.key for unit in UNITS) == unit_keys(BLOCKS)
    assert len({unit.key for unit in UNITS}) == len(UNITS)
    assert missing(UNITS, {UNITS[0].key}) == UNITS[1:]
    kernel = DeviceSpec(id="k", kind="mcu", runner=None, unit="kernel")
    with pytest.raises(InputError, match="unit 'kernel'"):
        worklist(BLOCKS, kernel)


def test_a_block_hands_over_8_bits_also_where_it_ends_in_float() -> None:
    x = TensorType((4, 4, 8))
    block = Graph({"x0": x}, (make_node("act", "hswish", {"x0": x}, {}),), ("act",))
    model = quantize_for_timing(chain(block, SHORT))
    stored = {node.name for node in model.nodes if node.out.dtype == DType.UINT8}
    assert {"pre_x0", "c0/act", "border_c0/act"} <= stored
