"""Antialiased bilinear resizing as two matrix products, for elastic input resolution."""

from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Float32


@cache
def resize_matrix(n_in: int, n_out: int) -> Float32[np.ndarray, "n_out n_in"]:
    """The matrix that resizes an axis from `n_in` to `n_out` samples.

    Output `i` has its centre at `(i + 1/2) n_in / n_out - 1/2` and weighs the inputs by a triangle
    of half-width `max(1, n_in / n_out)`, cut at the border: the filter of Pillow's BILINEAR and of
    `jax.image.resize`'s "linear". Rows sum to 1; equal sizes give the identity.

    Example:
        >>> print(resize_matrix(4, 2).round(3))
        [[0.429 0.429 0.143 0.   ]
         [0.    0.143 0.429 0.429]]
    """
    step = n_in / n_out
    centre = (np.arange(n_out) + 0.5) * step - 0.5
    distance = np.abs(centre[:, None] - np.arange(n_in)[None, :])
    weight = np.maximum(0, 1 - distance / max(1, step))
    matrix = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
    matrix.flags.writeable = False
    return matrix


def resize(
    images: Float[Array, "n h w c"], size: int | tuple[int, int]
) -> Float[Array, "n h2 w2 c"]:
    """Resize to `size` (height and width, or the edge of a square); equal sizes change nothing."""
    height, width = (size, size) if isinstance(size, int) else size
    if images.shape[1] != height:
        images = _along(images, 1, height)
    if images.shape[2] != width:
        images = _along(images, 2, width)
    return images


def _along(images: Float[Array, "n h w c"], axis: int, size: int) -> Float[Array, "n h2 w2 c"]:
    matrix = jnp.asarray(resize_matrix(images.shape[axis], size), images.dtype)
    equation = "oh,nhwc->nowc" if axis == 1 else "ow,nhwc->nhoc"
    # Full precision: GPUs and TPUs would round the weights to 10 or 8 bits.
    return jnp.einsum(equation, matrix, images, precision=lax.Precision.HIGHEST)
