"""Depthwise convolution by the fastest implementation that runs here."""

from jax import Array
from jaxtyping import Float, Int

from kernels.dispatch import Operation
from kernels.epilogue import check_activation

OPERATION = Operation(
    "depthwise_conv",
    {
        "cpu": "kernels.depthwise_conv.cpu",
        "shift_add": "kernels.depthwise_conv.shift_add",
        "pallas_gpu": "kernels.depthwise_conv.pallas_gpu",
        "pallas_tpu": "kernels.depthwise_conv.pallas_tpu",
        "reference": "kernels.depthwise_conv.reference",
    },
)


def depthwise_conv(
    x: Float[Array, "n h w c"],
    weight: Float[Array, "k k c"],
    stride: int,
    padding: int,
    active: Int[Array, "2"] | None = None,
    *,
    bias: Float[Array, " c"] | None = None,
    activation: str = "none",
    implementation: str | None = None,
) -> Float[Array, "n oh ow c"]:
    """Convolve each channel with its own k x k kernel, then `activation(y + bias)`.

    `oh = (h + 2 * padding - k) // stride + 1`, and the same for `ow`.

    Args:
        x: maps, channels last.
        weight: taps by channels.
        stride: step in pixels, both ways.
        padding: zeros added on each side, in pixels.
        active: (kernel size, channels) that live, as run-time data: an odd size, centred in
            `weight`, and a prefix of the channels. The caller promises that dead taps are zero, so
            an implementation may skip them; what else dead channels hold changes nothing. Dead
            channels of the result and of the gradient of `x` may hold anything, NaN too; the
            gradients of dead taps are zero.
        bias: of each channel.
        activation: a name in `kernels.epilogue.ACTIVATIONS`.
        implementation: a name in `OPERATION.modules`; default: the fastest that runs here.

    Raises:
        NotImplementedError: no implementation can run; the message has every reason.
        ValueError: no such activation.
    """
    check_activation(OPERATION.name, activation)
    return OPERATION.run(
        lambda run: run(x, weight, stride, padding, active, bias, activation), implementation
    )
