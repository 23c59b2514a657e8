"""The operation in plain XLA, right on every back end: what the others are compared with."""

from jax import Array, lax
from jaxtyping import Float, Int

from kernels.depthwise_conv.active import zero_dead
from kernels.epilogue import finish


def depthwise_conv(
    x: Float[Array, "n h w c"],
    weight: Float[Array, "k k c"],
    stride: int,
    padding: int,
    active: Int[Array, "2"] | None,
    bias: Float[Array, " c"] | None,
    activation: str,
) -> Float[Array, "n oh ow c"]:
    """Grouped convolution with as many groups as channels; see `api.depthwise_conv`."""
    channels = x.shape[-1]
    out = lax.conv_general_dilated(
        x,
        zero_dead(weight, active)[:, :, None, :],
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels,
    )
    return finish(out, bias, activation)
