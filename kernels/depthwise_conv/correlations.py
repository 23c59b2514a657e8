"""A depthwise convolution and its gradients as correlations that know what lives."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from kernels.dispatch import is_interpreted
from kernels.epilogue import finish, fused


@dataclass(frozen=True)
class Window:
    """Which pixels of a map the taps meet.

    Result `(y, x)` meets at tap `(i, j)` the pixel `((y * stride + i - padding) / spacing, ...)`
    of the map, zero where that is outside or no whole number.

    Args:
        stride: step of the window.
        padding: zeros above and to the left; a negative number cuts.
        spacing: the map's pixels are made so far apart, with zeros between.
        out: height and width of the result.
    """

    stride: int
    padding: int
    spacing: int
    out: tuple[int, int]


class Correlations:
    """The operation from a back end's correlations.

    Args:
        correlate: of a map, weights, the live kernel size and channels, a `Window`, a bias or
            None and an activation; what it gives for dead channels is zero. The last argument
            asks for Pallas' interpreter.
        products: of a map, a map of gradients, the live sizes, the whole kernel size and the
            `Window` of the forward pass: the weights' gradient, float32, zero where dead.
    """

    def __init__(self, correlate: Callable[..., Array], products: Callable[..., Array]) -> None:
        @partial(jax.custom_vjp, nondiff_argnums=(3, 4))
        def conv(x: Array, weight: Array, live: Array, window: Window, interpret: bool) -> Array:
            return correlate(x, weight, live, window, None, "none", interpret)

        def forward(
            x: Array, weight: Array, live: Array, window: Window, interpret: bool
        ) -> tuple[Array, tuple[Array, Array, Array]]:
            return conv(x, weight, live, window, interpret), (x, weight, live)

        def backward(
            window: Window, interpret: bool, saved: tuple[Array, Array, Array], g: Array
        ) -> tuple[Array, Array, None]:
            x, weight, live = saved
            size = weight.shape[0]
            # A pixel of g was made every `stride` pixels, and the kernel turns round.
            back = Window(1, size - 1 - window.padding, window.stride, (x.shape[1], x.shape[2]))
            dx = correlate(g, weight[::-1, ::-1], live, back, None, "none", interpret)
            dw = products(x, g, live, size, window, interpret)
            return dx, dw.astype(weight.dtype), None

        conv.defvjp(forward, backward)
        self._conv = conv
        self._correlate = correlate

    def __call__(
        self,
        x: Float[Array, "n h w c"],
        weight: Float[Array, "k k c"],
        stride: int,
        padding: int,
        active: Int[Array, "2"] | None,
        bias: Float[Array, " c"] | None,
        activation: str,
    ) -> Float[Array, "n oh ow c"]:
        """See `api.depthwise_conv`; sums are made in float32.

        Raises:
            NotImplementedError: neither float32 nor bfloat16, or no pixels.
        """
        if x.dtype not in (jnp.float32, jnp.bfloat16) or weight.dtype != x.dtype:
            raise NotImplementedError(f"float32 or bfloat16, not {x.dtype} and {weight.dtype}")
        size = weight.shape[0]
        height, width = ((edge + 2 * padding - size) // stride + 1 for edge in x.shape[1:3])
        if x.size == 0 or min(height, width) < 1:
            raise NotImplementedError("no pixels")
        live = jnp.array((size, weight.shape[2]), jnp.int32)
        if active is not None:
            live = jnp.maximum(active.astype(jnp.int32), jnp.array((1, 0), jnp.int32))
        window, interpret = Window(stride, padding, 1, (height, width)), is_interpreted()
        if bias is None and activation == "none":
            return self._conv(x, weight, live, window, interpret)

        def direct(x: Array, weight: Array, live: ArrayLike, bias: Array) -> Array:
            live = jnp.asarray(live)
            return self._correlate(x, weight, live, window, bias, activation, interpret)

        # JAX hands a constant over as a NumPy array.
        def composed(x: Array, weight: Array, live: ArrayLike, bias: Array) -> Array:
            y: Array = self._conv(x, weight, jnp.asarray(live), window, interpret)
            return finish(y, bias, activation)

        bias = jnp.zeros(weight.shape[2:], x.dtype) if bias is None else bias
        return fused(direct, composed)(x, weight, live, bias)
