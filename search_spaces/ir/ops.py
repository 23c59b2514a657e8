"""What each op takes, makes and costs: one entry an op, read by every back end.

Shapes are channels last without the batch: `(h, w, c)` or `(c,)`. A back end (JAX, ONNX, C) is
another table with the same keys; a test lists the gaps.

A node of any op may carry a `step` (float) and a `zero_point` (0 to 255): what it makes is then
stored in 8 bits, `q = round(x / step) + zero_point` kept within 0..255, and who reads it sees
`step * (q - zero_point)`. `quantize.quantize` adds them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from search_spaces.ir.graph import Attr, DType, Node, ParamSpec, TensorType

Types = tuple[TensorType, ...]
Attrs = Mapping[str, Attr]


class GraphError(ValueError):
    """A graph breaks a rule of the IR: a mistake in a space or a pass, not in a user's YAML."""


def _integer(attrs: Attrs, name: str) -> int:
    value = attrs[name]
    if not isinstance(value, int):
        raise GraphError(f"attribute {name!r} must be an integer, not {value!r}")
    return value


def _same(types: Types, _attrs: Attrs) -> TensorType:
    return types[0]


def _identical(types: Types, _attrs: Attrs) -> TensorType:
    if any(other != types[0] for other in types[1:]):
        raise GraphError(f"inputs must be of one type, not {[t.shape for t in types]}")
    return types[0]


def _window(types: Types, attrs: Attrs) -> TensorType:
    h, w, c = _image(types[0])
    kernel, stride, padding = (_integer(attrs, n) for n in ("kernel", "stride", "padding"))
    out = tuple((size + 2 * padding - kernel) // stride + 1 for size in (h, w))
    if min(out) < 1:
        raise GraphError(f"a {kernel}x{kernel} window does not fit a map of {h}x{w}")
    return TensorType((*out, c), types[0].dtype)


def _image(tensor: TensorType) -> tuple[int, int, int]:
    if len(tensor.shape) != 3:
        raise GraphError(f"needs a (h, w, c) tensor, not {tensor.shape}")
    h, w, c = tensor.shape
    return h, w, c


def _features(types: Types, attrs: Attrs) -> TensorType:
    return TensorType((*types[0].shape[:-1], _integer(attrs, "features")), types[0].dtype)


def _conv(types: Types, attrs: Attrs) -> TensorType:
    return _features((_window(types, attrs),), attrs)


def _dense(types: Types, attrs: Attrs) -> TensorType:
    if len(types[0].shape) != 1:
        raise GraphError(f"dense needs a (features,) tensor, not {types[0].shape}; reshape first")
    return _features(types, attrs)


def _scale(types: Types, _attrs: Attrs) -> TensorType:
    x, factor = types
    channels_only = len(x.shape) == 3 and factor.shape == (1, 1, x.shape[-1])
    if factor.shape != x.shape and not channels_only:
        raise GraphError(f"cannot multiply {x.shape} by {factor.shape}")
    return x


def _global_pool(types: Types, _attrs: Attrs) -> TensorType:
    return TensorType((1, 1, _image(types[0])[2]), types[0].dtype)


def _pad(types: Types, attrs: Attrs) -> TensorType:
    h, w, c = _image(types[0])
    top, bottom, left, right = (_integer(attrs, n) for n in ("top", "bottom", "left", "right"))
    return TensorType((h + top + bottom, w + left + right, c), types[0].dtype)


def _reshape(types: Types, attrs: Attrs) -> TensorType:
    shape = attrs["shape"]
    if not isinstance(shape, tuple) or prod(shape) != types[0].size:
        raise GraphError(f"cannot reshape {types[0].shape} to {shape!r}")
    return TensorType(shape, types[0].dtype)


def _bias(attrs: Attrs, features: int) -> dict[str, ParamSpec]:
    return {"bias": ParamSpec((features,), "zeros")} if attrs["bias"] else {}


def _conv_params(types: Types, attrs: Attrs) -> dict[str, ParamSpec]:
    k, cin, cout = _integer(attrs, "kernel"), types[0].shape[-1], _integer(attrs, "features")
    weight = ParamSpec((k, k, cin, cout), "he_normal", k * k * cin, centred=(0, 1))
    return {"weight": weight, **_bias(attrs, cout)}


def _depthwise_params(types: Types, attrs: Attrs) -> dict[str, ParamSpec]:
    k, c = _integer(attrs, "kernel"), types[0].shape[-1]
    weight = ParamSpec((k, k, c), "he_normal", k * k, centred=(0, 1))
    return {"weight": weight, **_bias(attrs, c)}


def _matrix_params(types: Types, attrs: Attrs) -> dict[str, ParamSpec]:
    cin, cout = types[0].shape[-1], _integer(attrs, "features")
    return {"weight": ParamSpec((cin, cout), "he_normal", cin), **_bias(attrs, cout)}


def _dense_params(types: Types, attrs: Attrs) -> dict[str, ParamSpec]:
    cin, cout = types[0].shape[-1], _integer(attrs, "features")
    return {"weight": ParamSpec((cin, cout), "lecun_normal", cin), **_bias(attrs, cout)}


def _batch_norm_params(types: Types, _attrs: Attrs) -> dict[str, ParamSpec]:
    c = types[0].shape[-1]
    return {"scale": ParamSpec((c,), "ones"), "bias": ParamSpec((c,), "zeros")}


def _weight_macs(node: Node) -> int:
    """Each output position uses every weight once; a matrix's columns are its own positions."""
    weight = node.params["weight"]
    positions = node.out.size // node.out.shape[-1]
    return positions * weight.size


@dataclass(frozen=True, slots=True)
class Op:
    """Rules of an op.

    Args:
        infer: types of the inputs and attributes to the type of the output.
        attrs: the attributes that a node of this op must have, no more and no less.
        params: types of the inputs and attributes to the parameters.
        macs: multiply-accumulates for one example.
        arity: how many inputs; None for two or more.
        super_only: whether the op may only stand in a super-graph.
    """

    infer: Callable[[Types, Attrs], TensorType]
    attrs: frozenset[str] = frozenset()
    params: Callable[[Types, Attrs], dict[str, ParamSpec]] = lambda _types, _attrs: {}
    macs: Callable[[Node], int] = lambda _node: 0
    arity: int | None = 1
    super_only: bool = False


_WINDOW = frozenset({"kernel", "stride", "padding"})
_LINEAR = frozenset({"features", "bias"})
# Attributes of a node whose output is stored in 8 bits.
STORED = frozenset({"step", "zero_point"})
LINEAR = ("conv", "depthwise", "pointwise", "dense")
ACTIVATIONS = ("relu", "relu6", "hswish", "hsigmoid", "sigmoid", "gelu")

OPS: Mapping[str, Op] = {
    "conv": Op(_conv, _WINDOW | _LINEAR, _conv_params, _weight_macs),
    "depthwise": Op(_window, _WINDOW | {"bias"}, _depthwise_params, _weight_macs),
    "pointwise": Op(_features, _LINEAR, _matrix_params, _weight_macs),
    "dense": Op(_dense, _LINEAR, _dense_params, _weight_macs),
    "batch_norm": Op(_same, frozenset({"epsilon"}), _batch_norm_params),
    **{name: Op(_same) for name in ACTIVATIONS},
    "softmax": Op(_same),
    "identity": Op(_same),
    "zero": Op(_same),
    "add": Op(_identical, arity=2),
    "mul": Op(_scale, arity=2),
    "max_pool": Op(_window, _WINDOW),
    "avg_pool": Op(_window, _WINDOW),
    "global_pool": Op(_global_pool),
    "pad": Op(_pad, frozenset({"top", "bottom", "left", "right"})),
    "reshape": Op(_reshape, frozenset({"shape"})),
    "gate": Op(_identical, frozenset({"knob", "index"}), arity=2, super_only=True),
    "select": Op(_identical, frozenset({"knob"}), arity=None, super_only=True),
}


def make_node(name: str, op: str, inputs: Mapping[str, TensorType], attrs: Attrs) -> Node:
    """A node with its output type and parameters worked out from the types of its inputs.

    Args:
        name: the node's name.
        op: key of `OPS`.
        inputs: names and types of the tensors it reads, in order.
        attrs: exactly the attributes that the op asks for, and maybe `STORED`.

    Raises:
        GraphError: the op does not exist, or does not accept these inputs or attributes.
    """
    rule = OPS.get(op)
    if rule is None:
        raise GraphError(f"{name}: there is no op {op!r}; ops: {', '.join(sorted(OPS))}")
    stored = STORED.issubset(attrs)
    if set(attrs) != rule.attrs | (STORED if stored else frozenset()):
        raise GraphError(f"{name}: {op} needs attributes {sorted(rule.attrs)}, got {sorted(attrs)}")
    # Rules see the real numbers that tensors of 8 bits stand for.
    types = tuple(_real(kind) for kind in inputs.values())
    if (rule.arity is None and len(types) < 2) or (rule.arity or len(types)) != len(types):
        raise GraphError(f"{name}: {op} needs {rule.arity or '2 or more'} inputs, got {len(types)}")
    try:
        out = rule.infer(types, attrs)
        if stored:
            out = TensorType(out.shape, DType.UINT8)
        return Node(name, op, tuple(inputs), out, rule.params(types, attrs), dict(attrs))
    except GraphError as error:
        raise GraphError(f"{name}: {op}: {error}") from None


def _real(kind: TensorType) -> TensorType:
    return TensorType(kind.shape) if kind.dtype == DType.UINT8 else kind


def macs(node: Node) -> int:
    """Multiply-accumulates that the node takes for one example."""
    return OPS[node.op].macs(node)
