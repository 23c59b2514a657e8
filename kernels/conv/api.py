"""Convolution by the fastest implementation that runs here."""

from jax import Array
from jaxtyping import Float, Int

from kernels.dispatch import Operation
from kernels.epilogue import check_activation

OPERATION = Operation("conv", {"cpu": "kernels.conv.cpu", "reference": "kernels.conv.reference"})


def conv(
    x: Float[Array, "n h w i"],
    weight: Float[Array, "k k i o"],
    stride: int,
    padding: int,
    active: Int[Array, "3"] | None = None,
    *,
    bias: Float[Array, " o"] | None = None,
    activation: str = "none",
    implementation: str | None = None,
) -> Float[Array, "n oh ow o"]:
    """Convolve all channels with k x k kernels, then `activation(y + bias)`.

    `oh = (h + 2 * padding - k) // stride + 1`, and the same for `ow`.

    Args:
        x: maps, channels last.
        weight: taps by input channels by output channels.
        stride: step in pixels, both ways.
        padding: zeros added on each side, in pixels.
        active: (kernel size, input channels, output channels) that live, as run-time data: an odd
            size, centred in `weight`, and prefixes of the channels. The caller promises that
            `weight` is zero elsewhere; what else dead channels hold changes nothing. Dead channels
            of the result and of the gradient of `x` may hold anything, NaN too.
        bias: of each output channel.
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
