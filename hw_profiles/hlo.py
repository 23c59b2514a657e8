"""What XLA's optimised HLO says of the work in it: instructions, bytes, FLOPs, cycles.

Read from the text that a compiled function prints. Only what the estimates need is understood;
an instruction without a rule for its FLOPs counts none, as data movement does.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

_BITS = re.compile(r"(\d+)")
_SHAPE = re.compile(r"\b([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\]")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.-]+) \(")
_LINE = re.compile(r"^\s+(?:ROOT )?%([\w.-]+) = ")
_OPCODE = re.compile(r"([a-z][\w-]*)\(")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')

# One operation for each element of the result.
_ELEMENTWISE = frozenset(
    (
        *("add", "subtract", "multiply", "divide", "remainder", "negate", "abs", "sign"),
        *("maximum", "minimum", "clamp", "compare", "select", "and", "or", "xor", "not"),
        *("floor", "ceil", "round-nearest-even", "round-nearest-afz", "power", "sqrt", "rsqrt"),
        *("exponential", "exponential-minus-one", "log", "log-plus-one", "logistic", "tanh"),
        *("cbrt", "erf", "sine", "cosine"),
    )
)
# Instructions that take no time, or whose time other instructions hide.
_FREE = frozenset(
    (
        *("parameter", "constant", "bitcast", "get-tuple-element", "tuple", "iota", "after-all"),
        *("partition-id", "copy-start", "copy-done", "slice-start", "slice-done"),
    )
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A dense array's element type, as HLO names it, and sizes."""

    dtype: str
    sizes: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many."""
        return prod(self.sizes)

    @property
    def bytes(self) -> int:
        """Without padding to tiles."""
        bits = 8 if self.dtype == "pred" else int(_BITS.findall(self.dtype)[0])
        return -(-self.elements * bits // 8)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line.

    Args:
        name: unique in the module.
        op: the opcode.
        shapes: of the result; several for a tuple.
        operands: names of instructions in the same computation.
        rest: attributes, metadata and the back end's configuration, as they stand.
    """

    name: str
    op: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    rest: str

    @property
    def elements(self) -> int:
        """Of all results."""
        return sum(shape.elements for shape in self.shapes)

    @property
    def custom_call(self) -> str:
        """What a custom call calls; empty for all others."""
        found = re.search(r'custom_call_target="([^"]*)"', self.rest)
        return found[1] if found else ""

    @property
    def origin(self) -> str:
        """Names of the JAX calls that it comes from."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else ""

    @property
    def cycles(self) -> int | None:
        """What the TPU compiler expects it to take."""
        found = _CYCLES.search(self.rest)
        return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Flops:
    """Floating-point operations of dot products and convolutions, and of all else."""

    matrix: int = 0
    vector: int = 0

    def __add__(self, other: "Flops") -> "Flops":
        """Both together."""
        return Flops(self.matrix + other.matrix, self.vector + other.vector)


@dataclass(frozen=True)
class Module:
    """A compiled function.

    Args:
        computations: instructions by computation and name, in order.
        entry: name of the computation that the function is.
    """

    computations: Mapping[str, Mapping[str, Instruction]]
    entry: str

    @property
    def instructions(self) -> Mapping[str, Instruction]:
        """Those of the entry computation."""
        return self.computations[self.entry]

    def bytes(self, instruction: Instruction) -> int:
        """Read and written: operands and results, each once."""
        own = self._owner(instruction)
        read = [own[name] for name in dict.fromkeys(instruction.operands)]
        shapes = [shape for one in (*read, instruction) for shape in one.shapes]
        return sum(shape.bytes for shape in shapes)

    def flops(self, instruction: Instruction) -> Flops:
        """Of an instruction; a fusion's are those of what is fused.

        A multiplication and an addition are two.
        """
        if instruction.op == "fusion":
            found = re.search(r"calls=%([\w.-]+)", instruction.rest)
            inside = self.computations[found[1]].values() if found else ()
            return sum((self.flops(one) for one in inside), Flops())
        operands = [self._owner(instruction)[name].shapes[0] for name in instruction.operands]
        return _flops(instruction, operands)

    def _owner(self, instruction: Instruction) -> Mapping[str, Instruction]:
        for computation in self.computations.values():
            if computation.get(instruction.name) is instruction:
                return computation
        raise KeyError(instruction.name)


def parse(text: str) -> Module:
    """Read a module.

    Raises:
        ValueError: the text has no entry computation, or an instruction that can't be read.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if current is None or not line.startswith(" "):
            header = _HEADER.match(line)
            if header and line.endswith("{"):
                current = computations.setdefault(header[2], {})
                entry = header[2] if header[1] else entry
            continue
        found = _LINE.match(line)
        if found:
            current[found[1]] = _instruction(found[1], line[found.end() :])
    if not entry:
        raise ValueError("HLO text without an ENTRY computation")
    return Module(computations, entry)


def tpu_cycles(module: Module) -> tuple[int, tuple[str, ...]]:
    """Cycles that the TPU's compiler expects, one instruction after the other.

    Asynchronous copies between memories are taken to be hidden behind the instructions.

    Returns:
        The sum, and the names of instructions that do something but carry no estimate.
    """
    total, silent = 0, []
    for one in module.instructions.values():
        if one.cycles is not None:
            total += one.cycles
        elif one.op not in _FREE:
            silent.append(one.name)
    return total, tuple(silent)


def _instruction(name: str, text: str) -> Instruction:
    end = _closing(text, 0) if text.startswith("(") else text.index(" ")
    opcode = _OPCODE.match(text[end:].lstrip(" )"))
    if opcode is None:
        raise ValueError(f"HLO instruction %{name} can't be read: {text[:80]}")
    start = text.index(f"{opcode[1]}(", end) + len(opcode[1])
    stop = _closing(text, start)
    shapes = tuple(
        Shape(kind, tuple(int(size) for size in sizes.split(",") if size))
        for kind, sizes in _SHAPE.findall(text[:end])
    )
    operands = tuple(re.findall(r"%([\w.-]+)", text[start:stop]))
    return Instruction(name, opcode[1], shapes, operands, text[stop + 1 :])


def _closing(text: str, start: int) -> int:
    """Index of the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return i
    raise ValueError(f"HLO with an open bracket: {text[:80]}")


def _flops(instruction: Instruction, operands: list[Shape]) -> Flops:
    out = instruction.elements
    if instruction.op in _ELEMENTWISE:
        return Flops(vector=out)
    if instruction.op == "dot":
        found = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.rest)
        axes = [int(axis) for axis in found[1].split(",") if axis] if found else []
        return Flops(matrix=2 * out * prod(operands[0].sizes[axis] for axis in axes))
    if instruction.op == "convolution":
        return Flops(matrix=2 * out * convolution_taps(instruction, operands[1]))
    if instruction.op == "reduce":
        return Flops(vector=operands[0].elements)
    if instruction.op == "reduce-window":
        found = re.search(r"window=\{[^}]*size=([\dx]+)", instruction.rest)
        taps = prod(int(size) for size in found[1].split("x")) if found else 1
        return Flops(vector=out * taps)
    return Flops()


def convolution_taps(instruction: Instruction, weight: Shape) -> int:
    """Multiplications behind each output of a convolution, a library's too.

    Its weight holds input channels of one group, so groups need no further care.
    """
    found = re.search(r"dim_labels=\w+_(\w+)->", instruction.rest)
    labels = found[1] if found else ""
    features = weight.sizes[labels.index("o")] if "o" in labels else 1
    return weight.elements // features
