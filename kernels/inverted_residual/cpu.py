"""The block in C++ (`cpu.cc`), called through XLA's foreign-function interface."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from kernels.epilogue import fused
from kernels.ffi import NUMBER, Library
from kernels.inverted_residual.api import Weights
from kernels.inverted_residual.reference import inverted_residual as composed

_FORWARD = "hwnas_inverted_residual_forward"
_LIBRARY = Library(Path(__file__).with_name("cpu.cc"), {_FORWARD: "InvertedResidualForward"})


def inverted_residual(
    x: Float[Array, "n h w i"],
    weights: Weights,
    stride: int,
    padding: int,
    activation: str,
    adds: bool,
    active: Int[Array, " sizes"] | None,
) -> Float[Array, "n oh ow o"]:
    """The same values as `reference.inverted_residual`, and the gradients of that.

    Raises:
        NotImplementedError: not float32, no images, no compiler, or the compiler failed.
    """
    if x.size == 0:
        raise NotImplementedError("no images")
    _LIBRARY.check(x, *(weight for weight in weights if weight is not None))
    if active is None:
        kernel, _, wide = weights.depthwise.shape
        sizes = (x.shape[3], kernel, wide, weights.project.shape[1])
        squeezed = () if weights.squeeze is None else weights.squeeze.shape[1:]
        active = jnp.array(sizes + squeezed, jnp.int32)
    fixed = {"stride": stride, "padding": padding, "activation": activation, "adds": adds}

    arrays, tree = jax.tree.flatten(weights)

    def direct(x: Array, live: Array, *arrays: Array) -> Array:
        return _forward(x, live, tree.unflatten(arrays), **fixed)

    def parts(x: Array, live: Array, *arrays: Array) -> Array:
        return composed(x, tree.unflatten(arrays), active=live, **fixed)

    return fused(direct, parts)(x, active.astype(jnp.int32), *arrays)


def _forward(
    x: Array,
    live: Array,
    weights: Weights,
    stride: int,
    padding: int,
    activation: str,
    adds: bool,
) -> Array:
    empty = jnp.zeros(0, jnp.float32)
    kernel, outputs = weights.depthwise.shape[0], weights.project.shape[1]
    size = ((edge + 2 * padding - kernel) // stride + 1 for edge in x.shape[1:3])
    call = _LIBRARY.call(_FORWARD, ((x.shape[0], *size, outputs),))
    run = partial(call, stride=np.int64(stride), padding=np.int64(padding), adds=adds)
    arrays = (empty if weight is None else weight for weight in weights)
    (y,) = run(x, *arrays, live, activation=NUMBER[activation])
    return y
