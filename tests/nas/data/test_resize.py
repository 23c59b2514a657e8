import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nas.data.resize import resize, resize_matrix

SIZES = st.integers(1, 64)


@given(SIZES, SIZES)
def test_rows_are_weights(n_in, n_out):
    matrix = resize_matrix(n_in, n_out)
    assert matrix.shape == (n_out, n_in)
    assert matrix.dtype == np.float32
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


@given(SIZES)
def test_equal_sizes_give_the_identity(n):
    np.testing.assert_array_equal(resize_matrix(n, n), np.eye(n, dtype=np.float32))


@given(n_in=SIZES, n_out=SIZES)
def test_the_filter_is_that_of_pillow(n_in, n_out):
    line = np.random.default_rng(n_in).normal(size=n_in).astype(np.float32)
    expected = Image.fromarray(line[None]).resize((n_out, 1), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(
        resize_matrix(n_in, n_out) @ line, np.asarray(expected)[0], atol=1e-5
    )


@pytest.mark.parametrize("size", [(3, 10), (9, 4), (14, 7)])
def test_resize_equals_jax_image(size):
    images = np.random.default_rng(0).normal(size=(2, 9, 7, 3)).astype(np.float32)
    found = jax.jit(resize, static_argnums=1)(jnp.asarray(images), size)
    expected = jax.image.resize(jnp.asarray(images), (2, *size, 3), "linear", antialias=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_equal_size_changes_no_bit():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype(np.float32))
    assert resize(images, 9) is images
    np.testing.assert_array_equal(jax.jit(resize, static_argnums=1)(images, (9, 9)), images)


@pytest.mark.parametrize("size", [5, 9, 13])
def test_a_constant_image_stays_constant(size):
    out = resize(jnp.full((1, 9, 9, 1), 3.5, jnp.float32), size)
    assert out.shape == (1, size, size, 1)
    np.testing.assert_allclose(out, 3.5, rtol=1e-6)
