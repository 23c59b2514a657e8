"""ONNX nodes and initialisers as they are written, in float32 or in 8 bits.

What is stored in 8 bits is written as QuantizeLinear and DequantizeLinear around float operators
(QDQ), the form that every runtime reads and that ONNX Runtime turns into integer operators:
unsigned activations and signed weights, for which x86 has instructions.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float32
from onnx import TensorProto, helper, numpy_helper

from search_spaces.errors import RunError
from search_spaces.ir.graph import Graph, Node
from search_spaces.ir.quantize import LARGEST_WEIGHT, in_8_bits, same_bits, weight_steps

Params = Mapping[str, Mapping[str, Any]]


class Writer:
    """What the emitters write to: ONNX nodes and initialisers in the order of the graph.

    Names that are not a node's own hold a dot, which no node name does, so they never clash.

    Args:
        graph: what is written.
        params: `{node: {parameter: array}}` in the graph's layouts, float32.
    """

    def __init__(self, graph: Graph, params: Params) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._params = params
        self._constants: set[str] = set()
        self._stored: dict[str, str] = {}

    def emit(self, op_type: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:
        """Append an ONNX node that makes the tensor `output`, rounded where that is in 8 bits."""
        node = self.graph.by_name.get(output)
        if node is not None and in_8_bits(self.graph, node.name):
            self._round(node, self._append(op_type, inputs, f"{output}.exact", **attributes))
            return output
        return self._append(op_type, inputs, output, **attributes)

    def keep(self, node: Node) -> None:
        """Write a node that only rounds, or does nothing to the bits that it reads."""
        source = node.inputs[0]
        if same_bits(self.graph, node):
            self._finish(node, self._stored[source])
        else:
            self._round(node, source)

    def weight(self, node: Node, value: Float32[np.ndarray, "cout ..."]) -> str:
        """Write a weight in ONNX's layout; in 8 bits where the node computes in integers."""
        name = f"{node.name}.weight"
        if not self._computes_in_integers(node):
            return self.initializer(name, value)
        steps = self._weight_steps(node)
        wide = steps.reshape(-1, *(1,) * (value.ndim - 1))
        rounded = np.rint(value / wide).clip(-LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8)
        return self._constant(name, rounded, steps)

    def bias(self, node: Node) -> list[str]:
        """Write the bias of a node, if it has one; in 32 bits where it computes in integers."""
        if "bias" not in node.params:
            return []
        name, value = f"{node.name}.bias", self.value(node, "bias")
        if not self._computes_in_integers(node):
            return [self.initializer(name, value)]
        steps = self._weight_steps(node) * np.float32(_steps(self._source(node))[0])
        return [self._constant(name, np.rint(value / steps).astype(np.int32), steps)]

    def value(self, node: Node, name: str) -> np.ndarray:
        """A parameter in the graph's own layout."""
        try:
            value = np.asarray(self._params[node.name][name], np.float32)
        except KeyError:
            raise RunError(f"{node.name}: no parameter {name!r} was given") from None
        expected = node.params[name].shape
        if value.shape != expected:
            raise RunError(f"{node.name}: {name} is {value.shape}, the graph says {expected}")
        return value

    def initializer(self, name: str, value: np.ndarray) -> str:
        """Write a constant tensor."""
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def scalar(self, value: float) -> str:
        """A float32 constant, written once however often it is read."""
        name = f"constant.{value!r}"
        if name not in self._constants:
            self._constants.add(name)
            self.initializer(name, np.array(value, np.float32))
        return name

    def _append(self, op_type: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], output, **attributes))
        return output

    def _round(self, node: Node, exact: str) -> None:
        inputs = [exact, *self._step(node)]
        self._finish(node, self._append("QuantizeLinear", inputs, f"{node.name}.stored"))

    def _finish(self, node: Node, stored: str) -> None:
        self._stored[node.name] = stored
        if self._read_as_number(node):
            self._append("DequantizeLinear", [stored, *self._step(node)], node.name)

    def _constant(self, name: str, value: np.ndarray, steps: Float32[np.ndarray, " cout"]) -> str:
        """A rounded constant with a step for each output channel."""
        zero = np.zeros(len(steps), value.dtype)
        parts = {"stored": value, "step": steps, "zero_point": zero}
        inputs = [self.initializer(f"{name}.{part}", array) for part, array in parts.items()]
        return self._append("DequantizeLinear", inputs, name, axis=0)

    def _step(self, node: Node) -> list[str]:
        """Step and zero point of a node's tensor, each distinct one written once."""
        step, zero_point = _steps(node)
        name = f"zero_point.{zero_point}"
        if name not in self._constants:
            self._constants.add(name)
            self.initializer(name, np.array(zero_point, np.uint8))
        return [self.scalar(step), name]

    def _weight_steps(self, node: Node) -> Float32[np.ndarray, " cout"]:
        bias = self.value(node, "bias") if "bias" in node.params else None
        return weight_steps(self.value(node, "weight"), bias, _steps(self._source(node))[0])

    def _source(self, node: Node) -> Node:
        return self.graph.by_name[node.inputs[0]]

    def _computes_in_integers(self, node: Node) -> bool:
        return in_8_bits(self.graph, node.inputs[0])

    def _read_as_number(self, node: Node) -> bool:
        """Whether anyone reads more of it than its bits."""
        if node.name in self.graph.outputs:
            return True
        readers = self.graph.readers.get(node.name, ())
        return any(not same_bits(self.graph, reader) for reader in readers)


def _steps(node: Node) -> tuple[float, int]:
    step, zero_point = node.attrs["step"], node.attrs["zero_point"]
    return float(str(step)), int(str(zero_point))
