"""A pointwise convolution and its gradients as two matrix products that know what lives."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from kernels.dispatch import is_interpreted
from kernels.epilogue import finish, fused


class Products:
    """The operation from a back end's products.

    Args:
        apply: of rows (r, k) and weights (k, n) with the live sizes of k and n, a bias (n) or
            None, an activation; dead columns of the (r, n) result are zero. The last argument
            asks for Pallas' interpreter.
        products: of rows (r, i) and rows (r, o) with the live sizes of i and o: the sum over r,
            float32, zero where dead.
    """

    def __init__(self, apply: Callable[..., Array], products: Callable[..., Array]) -> None:
        @partial(jax.custom_vjp, nondiff_argnums=(3,))
        def conv(x: Array, weight: Array, live: Array, interpret: bool) -> Array:
            return apply(x, weight, live, None, "none", interpret)

        def forward(
            x: Array, weight: Array, live: Array, interpret: bool
        ) -> tuple[Array, tuple[Array, Array, Array]]:
            return conv(x, weight, live, interpret), (x, weight, live)

        def backward(
            interpret: bool, saved: tuple[Array, Array, Array], g: Array
        ) -> tuple[Array, Array, None]:
            x, weight, live = saved
            dx = apply(g, weight.T, live[::-1], None, "none", interpret)
            return dx, products(x, g, live, interpret).astype(weight.dtype), None

        conv.defvjp(forward, backward)
        self._conv = conv
        self._apply = apply

    def __call__(
        self,
        x: Float[Array, "*n i"],
        weight: Float[Array, "i o"],
        active: Int[Array, "2"] | None,
        scale: Float[Array, "m i"] | None,
        bias: Float[Array, " o"] | None,
        activation: str,
    ) -> Float[Array, "*n o"]:
        """See `api.pointwise_conv`; sums are made in float32.

        Raises:
            NotImplementedError: neither float32 nor bfloat16, or no pixels.
        """
        if x.dtype not in (jnp.float32, jnp.bfloat16) or weight.dtype != x.dtype:
            raise NotImplementedError(f"float32 or bfloat16, not {x.dtype} and {weight.dtype}")
        if x.size == 0:
            raise NotImplementedError("no pixels")
        if scale is not None:
            x = x * scale.reshape(scale.shape[:1] + (1,) * (x.ndim - 2) + scale.shape[1:])
        live = jnp.array(weight.shape, jnp.int32) if active is None else active.astype(jnp.int32)
        # Nothing in means nothing out, and the other way round.
        live = jnp.where(jnp.min(live) > 0, live, jnp.zeros_like(live))
        rows, interpret = x.reshape(-1, x.shape[-1]), is_interpreted()
        if bias is None and activation == "none":
            y: Array = self._conv(rows, weight, live, interpret)
        else:

            def direct(x: Array, weight: Array, live: Array, bias: Array) -> Array:
                return self._apply(x, weight, live, bias, activation, interpret)

            def composed(x: Array, weight: Array, live: Array, bias: Array) -> Array:
                return finish(self._conv(x, weight, live, interpret), bias, activation)

            bias = jnp.zeros(weight.shape[1:], x.dtype) if bias is None else bias
            y = fused(direct, composed)(rows, weight, live, bias)
        return y.reshape(*x.shape[:-1], weight.shape[1])


def round_up(size: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-size // step) * step
