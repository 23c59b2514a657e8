"""The block as its convolutions: right on every back end."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from kernels.depthwise_conv.api import depthwise_conv
from kernels.inverted_residual.api import Weights
from kernels.pointwise_conv.api import pointwise_conv


def inverted_residual(
    x: Float[Array, "n h w i"],
    weights: Weights,
    stride: int,
    padding: int,
    activation: str,
    adds: bool,
    active: Int[Array, " sizes"] | None,
) -> Float[Array, "n oh ow o"]:
    """See `api.inverted_residual`."""
    expand, middle, project = (
        (None, None, None) if active is None else (active[::2][:2], active[1:3], active[2:4])
    )
    y = x
    if weights.expand is not None:
        y = pointwise_conv(
            y, weights.expand, expand, bias=weights.expand_bias, activation=activation
        )
    y = depthwise_conv(
        y,
        weights.depthwise,
        stride,
        padding,
        middle,
        bias=weights.depthwise_bias,
        activation=activation,
    )
    scale = None if weights.squeeze is None else _excited(y, weights, active)
    y = pointwise_conv(y, weights.project, project, scale=scale, bias=weights.project_bias)
    return x + y if adds else y


def _excited(
    y: Float[Array, "n h w e"], weights: Weights, active: Int[Array, " sizes"] | None
) -> Float[Array, "n e"]:
    """What squeeze-and-excitation multiplies each image's channels with."""
    assert weights.squeeze is not None
    assert weights.excite is not None
    live = None if active is None else active[jnp.array((2, 4))]
    pooled = jnp.mean(y, (1, 2))
    hidden = pointwise_conv(
        pooled, weights.squeeze, live, bias=weights.squeeze_bias, activation="relu"
    )
    live = None if live is None else live[::-1]
    return jax.nn.hard_sigmoid(
        pointwise_conv(hidden, weights.excite, live, bias=weights.excite_bias)
    )
