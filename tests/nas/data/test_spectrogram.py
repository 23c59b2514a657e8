import jax.numpy as jnp
import numpy as np
import pytest

from nas.data.spectrogram import FLOOR_DB, SpectrogramConfig, hann, log_mel, mel_matrix, mel_power

SMALL = SpectrogramConfig(rate=8000, window=200, hop=80, mels=12, lowest_hz=50)


def naive_power(sound, config):
    """The discrete Fourier transform as its definition says, in float64."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window) / config.window)
    bins = np.arange(config.transform // 2 + 1)
    frames = []
    for start in range(0, len(sound) - config.window + 1, config.hop):
        frame = sound[start : start + config.window] * window / (window.sum() / 2)
        angle = -2j * np.pi * np.outer(bins, np.arange(config.window)) / config.transform
        frames.append(np.abs(np.exp(angle) @ frame) ** 2)
    return np.array(frames)


def naive_mels(power, config):
    def mel(hz):
        return 2595 * np.log10(1 + hz / 700)

    ends = np.linspace(mel(config.lowest_hz), mel(config.rate / 2), config.mels + 2)
    corner = [700 * (10 ** (m / 2595) - 1) for m in ends]
    windows = [corner[i : i + 3] for i in range(config.mels)]
    out = np.zeros((len(power), config.mels))
    for band, (low, middle, high) in enumerate(windows):
        for i in range(power.shape[1]):
            hz = i * config.rate / config.transform
            if low < hz <= middle:
                out[:, band] += power[:, i] * (hz - low) / (middle - low)
            elif middle < hz < high:
                out[:, band] += power[:, i] * (high - hz) / (high - middle)
    return out


def test_equals_a_naive_transform():
    sounds = np.random.default_rng(0).normal(size=(2, 731)).astype(np.float32) / 4
    found = mel_power(jnp.asarray(sounds), SMALL)
    assert found.shape == (2, SMALL.frames(731), 12) == (2, 7, 12)
    expected = [naive_mels(naive_power(s.astype(np.float64), SMALL), SMALL) for s in sounds]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    decibels = np.maximum(10 * np.log10(expected), FLOOR_DB)
    stored = np.clip((decibels - FLOOR_DB) * 255 / -FLOOR_DB, 0, 255)
    np.testing.assert_allclose(log_mel(sounds, SMALL), stored, atol=0.51)


@pytest.mark.parametrize("amplitude", [1.0, 0.1])
def test_a_sine_has_its_power_in_its_band(amplitude):
    """A Hann window spreads a sine of a bin's frequency over it and, with 1/4, its neighbours."""
    config = SpectrogramConfig(rate=8192, window=256, hop=256, mels=8, lowest_hz=0)
    bin_ = 40
    sine = amplitude * np.sin(2 * np.pi * bin_ * np.arange(512) / 256)
    matrix = mel_matrix(config)
    expected = amplitude**2 * (matrix[bin_] + (matrix[bin_ - 1] + matrix[bin_ + 1]) / 4)
    power = mel_power(jnp.asarray(sine, jnp.float32)[None], config)
    np.testing.assert_allclose(power, np.tile(expected, (1, 2, 1)), atol=1e-6)


def test_bands_overlap_to_one_and_begin_where_they_should():
    matrix = mel_matrix(SMALL)
    hz = np.fft.rfftfreq(SMALL.transform, 1 / SMALL.rate)
    assert (matrix[hz <= 50] == 0).all()
    inside = (hz > hz[matrix[:, 0].argmax() + 1]) & (hz < hz[matrix[:, -1].argmax() - 1])
    np.testing.assert_allclose(matrix[inside].sum(1), 1)


def test_silence_is_zero_and_full_scale_is_255():
    assert (log_mel(np.zeros((1, 400), np.float32), SMALL) == 0).all()
    square = np.sign(np.sin(2 * np.pi * 1000 * np.arange(400) / 8000) + 1e-9)
    assert log_mel(square.astype(np.float32)[None], SMALL).max() == 255


def test_the_transform_has_a_power_of_two():
    assert [SpectrogramConfig(8000, n, 80, 12, 0).transform for n in (200, 256, 257)] == [
        256,
        256,
        512,
    ]
    assert hann(200).sum() == pytest.approx(100)
