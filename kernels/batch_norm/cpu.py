"""Batch normalisation in C++ (`cpu.cc`), called through XLA's foreign-function interface."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from kernels.batch_norm.reference import Channels, line
from kernels.ffi import NUMBER, Library

_MOMENTS = "hwnas_batch_norm_moments"
_FORWARD = "hwnas_batch_norm_forward"
_SUMS = "hwnas_batch_norm_sums"
_INPUT_GRADIENT = "hwnas_batch_norm_input_gradient"
_LIBRARY = Library(
    Path(__file__).with_name("cpu.cc"),
    {
        _MOMENTS: "BatchNormMoments",
        _FORWARD: "BatchNormForward",
        _SUMS: "BatchNormSums",
        _INPUT_GRADIENT: "BatchNormInputGradient",
    },
)


def batch_norm(
    x: Float[Array, "*n c"],
    scale: Channels,
    bias: Channels,
    epsilon: float,
    activation: str,
    moments: tuple[Channels, Channels] | None,
    active: Int[Array, ""] | None = None,
) -> tuple[Float[Array, "*n c"], tuple[Channels, Channels]]:
    """The same values as `reference.batch_norm`; dead channels cost nothing.

    Raises:
        NotImplementedError: not float32, no compiler, or the compiler failed.
    """
    _LIBRARY.check(x, scale, bias)
    channels = jnp.int32(x.shape[-1]) if active is None else active.astype(jnp.int32)
    live = channels.reshape(1)
    if moments is None:
        found: tuple[Array, ...] = _normalise_batch(x, scale, bias, live, epsilon, activation)
        return found[0], (found[1], found[2])
    factor, offset = line(scale, bias, epsilon, moments)
    y: Array = _activate(x, factor, offset, live, activation)
    return y, moments


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _activate(x: Array, factor: Array, offset: Array, live: Array, activation: str) -> Array:
    """`activation(x * factor + offset)`, zero where dead."""
    return _forward(x, factor, offset, live, activation, in_place=0)


def _forward(
    x: Array, factor: Array, offset: Array, live: Array, activation: str, in_place: int | None
) -> Array:
    call = _LIBRARY.call(_FORWARD, (x.shape,), in_place=in_place)
    (y,) = call(x, factor, offset, live, activation=NUMBER[activation])
    return y


def _activate_fwd(
    x: Array, factor: Array, offset: Array, live: Array, activation: str
) -> tuple[Array, tuple[Array, ...]]:
    # Not in place: the backward pass needs the input.
    y = _forward(x, factor, offset, live, activation, in_place=None)
    return y, (x, factor, offset, live)


def _activate_bwd(
    activation: str, saved: tuple[Array, ...], g: Array
) -> tuple[Array, Array, Array, None]:
    x, factor, offset, live = saved
    zero = jnp.zeros_like(factor)
    dx = _pull(x, g, factor, offset, (factor, zero, zero), live, activation)
    doffset, dfactor = _sums(x, g, factor, offset, zero, live, activation)
    return dx, dfactor, doffset, None


_activate.defvjp(_activate_fwd, _activate_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _normalise_batch(
    x: Array, scale: Array, bias: Array, live: Array, epsilon: float, activation: str
) -> tuple[Array, Array, Array]:
    """The activated result, and the batch's mean and (biased) variance."""
    mean, variance = _moments(x, live)
    factor, offset = line(scale, bias, epsilon, (mean, variance))
    return _activate(x, factor, offset, live, activation), mean, variance


def _moments(x: Array, live: Array) -> tuple[Array, Array]:
    channels = x.shape[-1:]
    mean, variance = _LIBRARY.call(_MOMENTS, (channels, channels))(x, live)
    return mean, variance


def _normalise_batch_fwd(
    x: Array, scale: Array, bias: Array, live: Array, epsilon: float, activation: str
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    moments = _moments(x, live)
    y = _forward(x, *line(scale, bias, epsilon, moments), live, activation, in_place=None)
    return (y, *moments), (x, scale, bias, live, *moments)


def _normalise_batch_bwd(
    epsilon: float, activation: str, saved: tuple[Array, ...], gs: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array, None]:
    """With z the normalised map before the activation and dz its gradient, `r = 1 / sqrt(var)`:
    dbias = sum dz, dscale = r sum dz (x - mean), and
    dx = scale r (dz - dbias / n - r (x - mean) dscale / n), plus what flows through the moments.
    """
    x, scale, bias, live, mean, variance = saved
    g, dmean, dvariance = gs
    count = float(x.size // x.shape[-1])
    inverse = lax.rsqrt(variance + epsilon)
    factor, offset = line(scale, bias, epsilon, (mean, variance))
    dbias, product = _sums(x, g, factor, offset, mean, live, activation)
    dscale = product * inverse
    slope = (2 * dvariance - factor * inverse * dscale) / count
    shift = (dmean - factor * dbias) / count - slope * mean
    dx = _pull(x, g, factor, offset, (factor, slope, shift), live, activation)
    return dx, dscale, dbias, None


_normalise_batch.defvjp(_normalise_batch_fwd, _normalise_batch_bwd)


def _sums(
    x: Array, g: Array, factor: Array, offset: Array, mean: Array, live: Array, activation: str
) -> tuple[Array, Array]:
    """Over all pixels: the sum of dz, and of dz * (x - mean)."""
    call = _LIBRARY.call(_SUMS, (factor.shape, factor.shape))
    sums, products = call(x, g, factor, offset, mean, live, activation=NUMBER[activation])
    return sums, products


def _pull(
    x: Array,
    g: Array,
    factor: Array,
    offset: Array,
    terms: tuple[Array, Array, Array],
    live: Array,
    activation: str,
) -> Array:
    """`terms[0] * dz + terms[1] * x + terms[2]`, zero where dead."""
    call = _LIBRARY.call(_INPUT_GRADIENT, (x.shape,), in_place=1)
    (dx,) = call(x, g, factor, offset, *terms, live, activation=NUMBER[activation])
    return dx
