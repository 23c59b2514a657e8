"""Networks that are whole in 8 bits, as microcontrollers compute them."""

from search_spaces.ir.builder import Builder
from search_spaces.ir.graph import DType
from search_spaces.ir.passes import fold_batchnorm
from search_spaces.ir.quantize import quantize_for_timing
from search_spaces.registry import create


def test_a_network_that_is_whole_in_8_bits_has_no_float_tensor_behind_its_input():
    space = create("mobilenet_v3", resolution=(32,))
    graph = quantize_for_timing(fold_batchnorm(space.build(space.smallest())), whole=True)
    assert {node.op for node in graph.nodes} >= {"hswish", "hsigmoid", "dense"}
    assert {node.out.dtype for node in graph.nodes} == {DType.UINT8}


def test_sigmoid_and_softmax_have_the_steps_that_runtimes_expect():
    b = Builder((), {})
    x = b.activation("sigmoid", b.input("x", (8,)), "sigmoid")
    graph = quantize_for_timing(b.graph(b.node("softmax", "softmax", (x,))), whole=True)
    for name in ("sigmoid", "softmax"):
        assert graph.by_name[name].attrs == {"step": 1 / 256, "zero_point": 0}
