"""Convolution in C++ (`cpu.cc`), called through XLA's foreign-function interface."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from kernels.epilogue import finish, fused
from kernels.ffi import NUMBER, Library

_FORWARD = "hwnas_conv_forward"
_INPUT_GRADIENT = "hwnas_conv_input_gradient"
_WEIGHT_GRADIENT = "hwnas_conv_weight_gradient"
_LIBRARY = Library(
    Path(__file__).with_name("cpu.cc"),
    {
        _FORWARD: "ConvForward",
        _INPUT_GRADIENT: "ConvInputGradient",
        _WEIGHT_GRADIENT: "ConvWeightGradient",
    },
)


def conv(
    x: Float[Array, "n h w i"],
    weight: Float[Array, "k k i o"],
    stride: int,
    padding: int,
    active: Int[Array, "3"] | None,
    bias: Float[Array, " o"] | None,
    activation: str,
) -> Float[Array, "n oh ow o"]:
    """The same values as `reference.conv`; dead taps and channels cost nothing.

    Raises:
        NotImplementedError: not float32, no images, no compiler, or the compiler failed.
    """
    if x.size == 0:
        raise NotImplementedError("no images")
    _LIBRARY.check(x, weight)
    whole = (weight.shape[0], *weight.shape[2:])
    live = jnp.array(whole, jnp.int32) if active is None else active.astype(jnp.int32)
    if bias is None and activation == "none":
        return _conv(x, weight, live, stride, padding)

    def composed(x: Array, weight: Array, live: Array, bias: Array) -> Array:
        return finish(_conv(x, weight, live, stride, padding), bias, activation)

    direct = partial(_forward, stride=stride, padding=padding, activation=activation)
    bias = jnp.zeros(weight.shape[3:], jnp.float32) if bias is None else bias
    return fused(direct, composed)(x, weight, live, bias)


def _forward(
    x: Array, weight: Array, live: Array, bias: Array, stride: int, padding: int, activation: str
) -> Array:
    size = ((edge + 2 * padding - weight.shape[0]) // stride + 1 for edge in x.shape[1:3])
    call = _LIBRARY.call(_FORWARD, ((x.shape[0], *size, weight.shape[3]),))
    attributes = {"stride": np.int64(stride), "padding": np.int64(padding)}
    (y,) = call(x, weight, live, bias, activation=NUMBER[activation], **attributes)
    return y


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _conv(x: Array, weight: Array, live: Array, stride: int, padding: int) -> Array:
    return _forward(x, weight, live, jnp.zeros(0, jnp.float32), stride, padding, "none")


def _conv_fwd(
    x: Array, weight: Array, live: Array, stride: int, padding: int
) -> tuple[Array, tuple[Array, Array, Array]]:
    return _conv(x, weight, live, stride, padding), (x, weight, live)


def _conv_bwd(
    stride: int, padding: int, saved: tuple[Array, Array, Array], g: Array
) -> tuple[Array, Array, None]:
    x, weight, live = saved
    attributes = {"stride": np.int64(stride), "padding": np.int64(padding)}
    # Two calls, so that XLA can drop the gradient of an image.
    (dx,) = _LIBRARY.call(_INPUT_GRADIENT, (x.shape,))(g, weight, live, **attributes)
    (dw,) = _LIBRARY.call(_WEIGHT_GRADIENT, (weight.shape,))(x, g, live, **attributes)
    return dx, dw, None


_conv.defvjp(_conv_fwd, _conv_bwd)
