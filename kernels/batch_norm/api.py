"""Batch normalisation with its activation, by the fastest implementation that runs here."""

from jax import Array
from jaxtyping import Float, Int

from kernels.batch_norm.reference import Channels
from kernels.dispatch import Operation
from kernels.epilogue import check_activation

OPERATION = Operation(
    "batch_norm",
    {"cpu": "kernels.batch_norm.cpu", "reference": "kernels.batch_norm.reference"},
)


def batch_norm(
    x: Float[Array, "*n c"],
    scale: Channels,
    bias: Channels,
    *,
    epsilon: float,
    activation: str = "none",
    moments: tuple[Channels, Channels] | None = None,
    active: Int[Array, ""] | None = None,
    implementation: str | None = None,
) -> tuple[Float[Array, "*n c"], tuple[Channels, Channels]]:
    """Normalise each channel over all other axes, scale, shift, activate.

    Ioffe and Szegedy, "Batch Normalization", ICML 2015, algorithm 1.

    Args:
        x: maps, channels last.
        scale: of each channel.
        bias: of each channel.
        epsilon: added to the variance.
        activation: a name in `ACTIVATIONS`.
        moments: mean and variance of each channel; None takes those of this batch.
        active: channels that live, a prefix, as run-time data. What dead channels hold changes
            nothing. Those of the result and of the gradient of `x` may hold anything, NaN too;
            their moments and the gradients of their `scale` and `bias` are zero.
        implementation: a name in `OPERATION.modules`; default: the fastest that runs here.

    Returns:
        The map, and the moments used; the batch's variance is the biased one.

    Raises:
        NotImplementedError: no implementation can run; the message has every reason.
        ValueError: no such activation.
    """
    check_activation(OPERATION.name, activation)
    return OPERATION.run(
        lambda run: run(x, scale, bias, epsilon, activation, moments, active), implementation
    )
