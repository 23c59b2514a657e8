"""Training images on the device: normalisation, random crop, mirror, cutout."""

import jax.numpy as jnp
from jax import Array, random
from jaxtyping import Bool, Float, Float32, Int, PRNGKeyArray, UInt8

from nas.data.config import AugmentConfig


def normalise(
    images: UInt8[Array, "n h w c"], mean: Float32[Array, " c"], std: Float32[Array, " c"]
) -> Float32[Array, "n h w c"]:
    """`(images / 255 - mean) / std`, with mean and std per channel on the 0..1 scale."""
    scale = jnp.float32(1 / 255) / std
    shift = mean / std
    return images.astype(jnp.float32) * scale[None, None, None] - shift[None, None, None]


def augment(
    key: PRNGKeyArray, images: Float[Array, "n h w c"], spec: AugmentConfig
) -> Float[Array, "n h w c"]:
    """Random crop of the zero-padded image, then mirror, then cutout, drawn for each image.

    Zero is the mean of a normalised image. One gather moves the pixels and one mask sets the zeros:
    on a CPU this is faster than `dynamic_slice` under vmap and than matmuls with shift matrices.

    Args:
        key: decides everything; the same key gives the same images.
        images: normalised.
        spec: static under jit (it is hashable).

    References:
        DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout,
        2017, §3.2: the square's centre is any pixel, so part of it may lie outside.
    """
    if spec == AugmentConfig():
        return images
    n, height, width, _ = images.shape
    row_key, column_key, flip_key, cut_row_key, cut_column_key = random.split(key, 5)
    rows = _window(row_key, n, height, spec.crop_padding)
    columns = _window(column_key, n, width, spec.crop_padding)
    if spec.flip:
        columns = jnp.where(random.bernoulli(flip_key, shape=(n, 1)), columns[:, ::-1], columns)
    keep = _inside(rows, height)[:, :, None] & _inside(columns, width)[:, None, :]
    if spec.cutout:
        cut_rows = _stripe(cut_row_key, n, height, spec.cutout)
        cut_columns = _stripe(cut_column_key, n, width, spec.cutout)
        keep &= ~(cut_rows[:, :, None] & cut_columns[:, None, :])
    moved = images.at[
        jnp.arange(n)[:, None, None],
        jnp.clip(rows, 0, height - 1)[:, :, None],
        jnp.clip(columns, 0, width - 1)[:, None, :],
    ].get(mode="promise_in_bounds")
    return jnp.where(keep[..., None], moved, jnp.zeros((), images.dtype))


def _window(key: PRNGKeyArray, n: int, size: int, padding: int) -> Int[Array, "n size"]:
    """Where each output position reads from: a shift by at most `padding`, drawn for each image."""
    shift = random.randint(key, (n, 1), -padding, padding + 1)
    return jnp.arange(size)[None, :] + shift


def _inside(positions: Int[Array, "n size"], size: int) -> Bool[Array, "n size"]:
    return (positions >= 0) & (positions < size)


def _stripe(key: PRNGKeyArray, n: int, size: int, length: int) -> Bool[Array, "n size"]:
    """True on `length` positions around one drawn for each image."""
    start = random.randint(key, (n, 1), 0, size) - length // 2
    position = jnp.arange(size)[None, :]
    return (position >= start) & (position < start + length)
