"""The block as three convolutions: right on every back end."""

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
    active: Int[Array, "4"] | None,
) -> Float[Array, "n oh ow o"]:
    """See `api.inverted_residual`."""
    expand, middle, project = (
        (None, None, None) if active is None else (active[::2][:2], active[1:3], active[2:])
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
    y = pointwise_conv(y, weights.project, project, bias=weights.project_bias)
    return x + y if adds else y
