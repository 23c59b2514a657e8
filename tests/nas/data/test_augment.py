import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.augment import augment, normalise
from nas.data.config import AugmentConfig

N, HEIGHT, WIDTH, CHANNELS = 64, 6, 5, 3
# Every pixel has a value of its own and none is 0, so where it came from can be read off it.
IMAGES: np.ndarray = np.arange(1, N * HEIGHT * WIDTH * CHANNELS + 1, dtype=np.float32).reshape(
    N, HEIGHT, WIDTH, CHANNELS
)
run = jax.jit(augment, static_argnames="spec")


def apply(spec: AugmentConfig, seed: int = 0) -> np.ndarray:
    return np.asarray(run(jax.random.key(seed), jnp.asarray(IMAGES), spec))


def windows(image: np.ndarray, padding: int, flip: bool) -> list[np.ndarray]:
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    shifts = range(2 * padding + 1)
    crops = [padded[y : y + HEIGHT, x : x + WIDTH] for y in shifts for x in shifts]
    return crops + [crop[:, ::-1] for crop in crops] if flip else crops


@pytest.mark.parametrize(("padding", "flip"), [(0, True), (1, False), (3, True)])
@settings(max_examples=5)
@given(seed=st.integers(0, 2**31))
def test_each_image_becomes_one_of_its_windows(seed, padding, flip):
    out = apply(AugmentConfig(crop_padding=padding, flip=flip), seed)
    for image, made in zip(IMAGES, out, strict=True):
        assert any((made == window).all() for window in windows(image, padding, flip))


def test_every_window_comes_up():
    spec = AugmentConfig(crop_padding=1, flip=True)
    seen = set()
    for seed in range(6):
        for image, made in zip(IMAGES, apply(spec, seed), strict=True):
            options = windows(image, 1, flip=True)
            seen |= {i for i, window in enumerate(options) if (made == window).all()}
    assert seen == set(range(18))


def test_half_of_the_images_are_mirrored():
    out = np.concatenate([apply(AugmentConfig(flip=True), seed) for seed in range(10)])
    mirrored = (out == np.tile(IMAGES[:, :, ::-1], (10, 1, 1, 1))).all((1, 2, 3)).sum()
    # 640 fair draws: five standard deviations are 63.
    assert abs(mirrored - 320) < 63


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_cutout_zeroes_a_square_around_a_pixel(length):
    out = apply(AugmentConfig(cutout=length))
    centres = set()
    for image, made in zip(IMAGES, out, strict=True):
        options = {}
        for row in range(HEIGHT):
            for column in range(WIDTH):
                expected = image.copy()
                top, left = row - length // 2, column - length // 2
                expected[max(top, 0) : top + length, max(left, 0) : left + length] = 0
                options[row, column] = expected
        found = [centre for centre, option in options.items() if (made == option).all()]
        assert found
        centres.update(found)
    assert len(centres) > HEIGHT * WIDTH / 2


def test_one_key_gives_one_result_and_keys_differ():
    spec = AugmentConfig(crop_padding=2, flip=True, cutout=2)
    np.testing.assert_array_equal(apply(spec, 3), apply(spec, 3))
    assert (apply(spec, 3) != apply(spec, 4)).any()


def test_nothing_to_do_changes_nothing():
    np.testing.assert_array_equal(apply(AugmentConfig()), IMAGES)


def test_float16_images_stay_float16():
    spec = AugmentConfig(crop_padding=1, cutout=1)
    half = jnp.ones((2, 4, 4, 1), jnp.float16)
    assert run(jax.random.key(0), half, spec).dtype == jnp.float16


def test_normalised_training_images_have_mean_0_and_deviation_1():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 8, 8, 3), np.uint8)
    mean = (images / 255).mean((0, 1, 2)).astype(np.float32)
    std = (images / 255).std((0, 1, 2)).astype(np.float32)
    out = jax.jit(normalise)(jnp.asarray(images), jnp.asarray(mean), jnp.asarray(std))
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, (images / 255 - mean) / std, atol=1e-5)
    np.testing.assert_allclose(np.mean(out, (0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(np.std(out, (0, 1, 2)), 1, atol=1e-4)
