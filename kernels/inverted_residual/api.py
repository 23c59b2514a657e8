"""A whole inverted residual block by the fastest implementation that runs here."""

from typing import NamedTuple

from jax import Array
from jaxtyping import Float, Int

from kernels.dispatch import Operation
from kernels.epilogue import check_activation

OPERATION = Operation(
    "inverted_residual",
    {
        "cpu": "kernels.inverted_residual.cpu",
        "reference": "kernels.inverted_residual.reference",
    },
)


class Weights(NamedTuple):
    """Parameters with batch norm folded.

    A block that does not expand has None twice, one without squeeze-and-excitation at the end.
    """

    expand: Float[Array, "i e"] | None
    expand_bias: Float[Array, " e"] | None
    depthwise: Float[Array, "k k e"]
    depthwise_bias: Float[Array, " e"]
    project: Float[Array, "e o"]
    project_bias: Float[Array, " o"]
    squeeze: Float[Array, "e r"] | None = None
    squeeze_bias: Float[Array, " r"] | None = None
    excite: Float[Array, "r e"] | None = None
    excite_bias: Float[Array, " e"] | None = None


def inverted_residual(
    x: Float[Array, "n h w i"],
    weights: Weights,
    stride: int,
    padding: int,
    activation: str,
    adds: bool,
    active: Int[Array, " sizes"] | None = None,
    *,
    implementation: str | None = None,
) -> Float[Array, "n oh ow o"]:
    """Expand by a pointwise convolution, filter each channel, project: wide maps stay inside.

    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, §3.3; with
    the squeeze-and-excitation of Howard et al., "Searching for MobileNetV3", ICCV 2019, §5.3.

    Args:
        x: maps, channels last.
        weights: of the three convolutions, and of the two layers that squeeze and excite.
        stride: of the depthwise convolution.
        padding: of the depthwise convolution.
        activation: after the first two, a name in `kernels.epilogue.ACTIVATIONS`.
        adds: whether `x` is added to the result.
        active: live input channels, kernel size, expanded and output channels, and squeezed ones
            where there are any, as run-time data; see `depthwise_conv` and `pointwise_conv`.
        implementation: a name in `OPERATION.modules`; default: the fastest that runs here.

    Raises:
        NotImplementedError: no implementation can run; the message has every reason.
        ValueError: no such activation.
    """
    check_activation(OPERATION.name, activation)
    return OPERATION.run(
        lambda run: run(x, weights, stride, padding, activation, adds, active), implementation
    )
