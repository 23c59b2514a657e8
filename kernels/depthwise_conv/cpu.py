"""Depthwise convolution in C++ (`cpu.cc`), called through XLA's foreign-function interface."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from kernels.epilogue import finish, fused
from kernels.ffi import NUMBER, Library

_FORWARD = "hwnas_depthwise_conv_forward"
_BACKWARD = "hwnas_depthwise_conv_backward"
_LIBRARY = Library(
    Path(__file__).with_name("cpu.cc"),
    {_FORWARD: "DepthwiseForward", _BACKWARD: "DepthwiseBackward"},
)


def depthwise_conv(
    x: Float[Array, "n h w c"],
    weight: Float[Array, "k k c"],
    stride: int,
    padding: int,
    active: Int[Array, "2"] | None,
    bias: Float[Array, " c"] | None,
    activation: str,
) -> Float[Array, "n oh ow c"]:
    """The same values as `reference.depthwise_conv`; dead taps and channels cost nothing.

    Raises:
        NotImplementedError: not float32, no compiler, or the compiler failed.
    """
    _LIBRARY.check(x, weight)
    if active is None:
        active = jnp.array((weight.shape[0], weight.shape[2]), jnp.int32)
    live = active.astype(jnp.int32)
    if bias is None and activation == "none":
        return _conv(x, weight, live, stride, padding)

    def composed(x: Array, weight: Array, live: Array, bias: Array) -> Array:
        return finish(_conv(x, weight, live, stride, padding), bias, activation)

    direct = partial(_forward, stride=stride, padding=padding, activation=activation)
    bias = jnp.zeros(weight.shape[2:], jnp.float32) if bias is None else bias
    return fused(direct, composed)(x, weight, live, bias)


def _forward(
    x: Array, weight: Array, live: Array, bias: Array, stride: int, padding: int, activation: str
) -> Array:
    n, height, width, channels = x.shape
    out = ((size + 2 * padding - weight.shape[0]) // stride + 1 for size in (height, width))
    call = _LIBRARY.call(_FORWARD, ((n, *out, channels),), "broadcast_all")
    attributes = {"stride": np.int64(stride), "padding": np.int64(padding)}
    (y,) = call(x, weight, live, bias, activation=NUMBER[activation], **attributes)
    return y


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _conv(
    x: Float[Array, "n h w c"],
    weight: Float[Array, "k k c"],
    active: Int[Array, "2"],
    stride: int,
    padding: int,
) -> Float[Array, "n oh ow c"]:
    return _forward(x, weight, active, jnp.zeros(0, jnp.float32), stride, padding, "none")


def _conv_fwd(
    x: Array, weight: Array, active: Array, stride: int, padding: int
) -> tuple[Array, tuple[Array, Array, Array]]:
    return _conv(x, weight, active, stride, padding), (x, weight, active)


def _conv_bwd(
    stride: int, padding: int, saved: tuple[Array, Array, Array], g: Array
) -> tuple[Array, Array, None]:
    x, weight, active = saved
    call = _LIBRARY.call(_BACKWARD, (x.shape, weight.shape), "broadcast_all")
    attributes = {"stride": np.int64(stride), "padding": np.int64(padding)}
    dx, dw = call(x, weight, active, g, **attributes)
    return dx, dw, None


_conv.defvjp(_conv_fwd, _conv_bwd)
