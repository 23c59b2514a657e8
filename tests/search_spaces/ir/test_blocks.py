import pytest

from search_spaces.errors import InputError
from search_spaces.ir.blocks import split_blocks
from search_spaces.ir.builder import Builder


def test_a_block_without_nodes_is_refused():
    b = Builder((), {})
    x = b.input("image", (4, 4, 3))
    with b.block("stem"):
        x = b.pointwise("conv", x, 8)
    with b.block("nothing"):
        pass
    with pytest.raises(InputError, match="block 'nothing' holds no node"):
        split_blocks(b.graph(x))
