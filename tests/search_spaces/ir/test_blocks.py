import pytest

from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap, split_blocks
from search_spaces.ir.builder import Builder
from search_spaces.mobilenet_v3 import MobileNetV3


def test_a_block_without_nodes_is_refused():
    b = Builder((), {})
    x = b.input("image", (4, 4, 3))
    with b.block("stem"):
        x = b.pointwise("conv", x, 8)
    with b.block("nothing"):
        pass
    with pytest.raises(InputError, match="block 'nothing' holds no node"):
        split_blocks(b.graph(x))


def test_more_blocks_than_can_be_told_apart_are_refused():
    with pytest.raises(InputError, match=r"draws 2,002 blocks one after the other \(limit 1,000\)"):
        BlockMap(MobileNetV3(depth=(1, 400)))
