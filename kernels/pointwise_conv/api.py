"""Pointwise (1x1) convolution by the fastest implementation that runs here."""

from jax import Array
from jaxtyping import Float, Int

from kernels.dispatch import Operation
from kernels.epilogue import check_activation

OPERATION = Operation(
    "pointwise_conv",
    {
        "cpu": "kernels.pointwise_conv.cpu",
        "pallas_tpu": "kernels.pointwise_conv.pallas_tpu",
        "reference": "kernels.pointwise_conv.reference",
    },
)


def pointwise_conv(
    x: Float[Array, "*n i"],
    weight: Float[Array, "i o"],
    active: Int[Array, "2"] | None = None,
    *,
    scale: Float[Array, "m i"] | None = None,
    bias: Float[Array, " o"] | None = None,
    activation: str = "none",
    implementation: str | None = None,
) -> Float[Array, "*n o"]:
    """Mix the channels of each pixel: `y[..., o] = sum over i of x[..., i] * weight[i, o]`, then
    `activation(y + bias)`. With `scale` of an image m, of `x[m, ..., i] * scale[m, i]`.

    Args:
        x: maps, channels last.
        weight: input by output channels.
        active: input and output channels that live, prefixes, as run-time data. What the rest of
            any argument holds changes nothing. Dead channels of the result and of the gradient
            of `x` may hold anything, NaN too; the gradient of dead weights is zero.
        scale: factors of each image, the first axis of `x`, and input channel: what
            squeeze-and-excitation gives. Those of dead channels, and their gradients, may be
            anything.
        bias: of each output channel.
        activation: a name in `kernels.epilogue.ACTIVATIONS`.
        implementation: a name in `OPERATION.modules`; default: the fastest that runs here.

    Raises:
        NotImplementedError: no implementation can run; the message has every reason.
        ValueError: no such activation.
    """
    check_activation(OPERATION.name, activation)
    return OPERATION.run(
        lambda run: run(x, weight, active, scale, bias, activation), implementation
    )
