"""Log-mel spectrograms in JAX: sounds as images of time by frequency, stored in 8 bits."""

from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, UInt8

from nas.data.config import AudioFolderConfig

# Decibels below a sine of full scale: 0 and 255 of a stored value.
FLOOR_DB = -80.0


@dataclass(frozen=True)
class SpectrogramConfig:
    """How a sound is cut into frames and bands.

    Args:
        rate: samples a second.
        window: samples of a frame.
        hop: samples from one frame to the next.
        mels: bands.
        lowest_hz: where the first band begins; the last one ends at half the rate.
    """

    rate: int
    window: int
    hop: int
    mels: int
    lowest_hz: float

    @classmethod
    def of(cls, config: AudioFolderConfig) -> "SpectrogramConfig":
        """As an experiment says it, in milliseconds."""
        window, hop = (
            round(config.sample_rate * ms / 1000) for ms in (config.window_ms, config.hop_ms)
        )
        return cls(config.sample_rate, window, hop, config.mels, config.lowest_hz)

    @property
    def transform(self) -> int:
        """Samples of the Fourier transform: the next power of two."""
        return 1 << (self.window - 1).bit_length()

    def frames(self, samples: int) -> int:
        """Frames that lie inside a sound."""
        return 1 + (samples - self.window) // self.hop


def log_mel(
    sounds: Float32[np.ndarray, "n samples"], config: SpectrogramConfig
) -> UInt8[np.ndarray, "n frames mels"]:
    """Power in each band of each frame, 0..255 for `FLOOR_DB` to 0 decibels of full scale.

    A sine of amplitude 1 in the middle of a transform's bin has a power of 1 there.
    """
    return np.asarray(_log_mel(jnp.asarray(sounds), config))


@partial(jax.jit, static_argnums=1)
def _log_mel(sounds: Array, config: SpectrogramConfig) -> UInt8[Array, "n frames mels"]:
    decibels = 10 * jnp.log10(jnp.maximum(mel_power(sounds, config), 10 ** (FLOOR_DB / 10)))
    scaled = (decibels - FLOOR_DB) * (255 / -FLOOR_DB)
    return jnp.clip(jnp.round(scaled), 0, 255).astype(jnp.uint8)


def mel_power(
    sounds: Float[Array, "n samples"], config: SpectrogramConfig
) -> Float[Array, "n frames mels"]:
    """Power in each band: short-time Fourier transform with a Hann window, then triangles."""
    starts = np.arange(config.frames(sounds.shape[1])) * config.hop
    window = hann(config.window)
    framed = sounds[:, starts[:, None] + np.arange(config.window)[None, :]]
    framed = framed * jnp.asarray(2 * window / window.sum(), jnp.float32)[None, None, :]
    spectrum = jnp.fft.rfft(framed, config.transform)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    # Full precision: GPUs and TPUs would round the powers to 10 or 8 bits.
    matrix = jnp.asarray(mel_matrix(config), jnp.float32)
    return jnp.matmul(power, matrix, precision=jax.lax.Precision.HIGHEST)


def hann(size: int) -> Float[np.ndarray, " size"]:
    """Periodic Hann window.

    Example:
        >>> hann(4).tolist()
        [0.0, 0.5, 1.0, 0.5]
    """
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)


@cache
def mel_matrix(config: SpectrogramConfig) -> Float[np.ndarray, "bins mels"]:
    """Weight of each bin in each band: triangles of height 1, evenly spaced on the mel scale.

    `2595 log10(1 + f / 700)` is the mel scale of O'Shaughnessy, "Speech Communication", 1987, §4.
    """
    low, high = 2595 * np.log10(1 + np.array([config.lowest_hz, config.rate / 2]) / 700)
    corners = 700 * (10 ** (np.linspace(low, high, config.mels + 2) / 2595) - 1)
    frequency = np.fft.rfftfreq(config.transform, 1 / config.rate)[:, None]
    rising = (frequency - corners[None, :-2]) / (corners[1:-1] - corners[:-2])[None]
    falling = (corners[None, 2:] - frequency) / (corners[2:] - corners[1:-1])[None]
    matrix = np.maximum(0, np.minimum(rising, falling))
    matrix.flags.writeable = False
    return matrix
