"""Pointwise convolution in C++ (`cpu.cc`), called through XLA's foreign-function interface."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from kernels.epilogue import finish, fused
from kernels.ffi import NUMBER, Library

_FORWARD = "hwnas_pointwise_conv_forward"
_INPUT_GRADIENT = "hwnas_pointwise_conv_input_gradient"
_SCALED_INPUT_GRADIENT = "hwnas_pointwise_conv_scaled_input_gradient"
_WEIGHT_GRADIENT = "hwnas_pointwise_conv_weight_gradient"
_LIBRARY = Library(
    Path(__file__).with_name("cpu.cc"),
    {
        _FORWARD: "PointwiseForward",
        _INPUT_GRADIENT: "PointwiseInputGradient",
        _SCALED_INPUT_GRADIENT: "PointwiseScaledInputGradient",
        _WEIGHT_GRADIENT: "PointwiseWeightGradient",
    },
)


def pointwise_conv(
    x: Float[Array, "*n i"],
    weight: Float[Array, "i o"],
    active: Int[Array, "2"] | None,
    scale: Float[Array, "m i"] | None,
    bias: Float[Array, " o"] | None,
    activation: str,
) -> Float[Array, "*n o"]:
    """The same values as `reference.pointwise_conv`; dead channels cost nothing.

    Raises:
        NotImplementedError: not float32, no compiler, or the compiler failed.
    """
    _LIBRARY.check(x, weight)
    live = jnp.array(weight.shape, jnp.int32) if active is None else active.astype(jnp.int32)
    factors = jnp.zeros(0, jnp.float32) if scale is None else scale
    if bias is None and activation == "none":
        return _conv(x, weight, live, factors)

    def composed(x: Array, weight: Array, live: Array, scale: Array, bias: Array) -> Array:
        return finish(_conv(x, weight, live, scale), bias, activation)

    bias = jnp.zeros(weight.shape[1:], jnp.float32) if bias is None else bias
    direct = partial(_forward, activation=activation)
    return fused(direct, composed)(x, weight, live, factors, bias)


def _forward(
    x: Array, weight: Array, live: Array, scale: Array, bias: Array, activation: str
) -> Array:
    call = _LIBRARY.call(_FORWARD, ((*x.shape[:-1], weight.shape[1]),))
    (y,) = call(x, weight, live, scale, bias, activation=NUMBER[activation])
    return y


@jax.custom_vjp
def _conv(
    x: Float[Array, "*n i"],
    weight: Float[Array, "i o"],
    active: Int[Array, "2"],
    scale: Float[Array, "..."],
) -> Float[Array, "*n o"]:
    """An empty `scale` is none."""
    return _forward(x, weight, active, scale, jnp.zeros(0, jnp.float32), "none")


def _conv_fwd(
    x: Array, weight: Array, active: Array, scale: Array
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    return _conv(x, weight, active, scale), (x, weight, active, scale)


def _conv_bwd(
    saved: tuple[Array, Array, Array, Array], g: Array
) -> tuple[Array, Array, None, Array]:
    x, weight, active, scale = saved
    # Two calls, so that XLA can drop the gradient of an image.
    if scale.size:
        call = _LIBRARY.call(_SCALED_INPUT_GRADIENT, (x.shape, scale.shape))
        dx, dscale = call(g, weight, active, x, scale)
    else:
        (dx,) = _LIBRARY.call(_INPUT_GRADIENT, (x.shape,))(g, weight, active)
        dscale = scale
    (dw,) = _LIBRARY.call(_WEIGHT_GRADIENT, (weight.shape,))(x, g, active, scale)
    return dx, dw, None, dscale


_conv.defvjp(_conv_fwd, _conv_bwd)
