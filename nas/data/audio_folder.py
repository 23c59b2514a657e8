"""Sounds in folders: `train/<class>/*.wav`, and `test/<class>/` where there is a test set."""

import math
import os
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from nas.data.class_folders import class_folders
from nas.data.config import AudioFolderConfig
from nas.data.dataset import Split
from nas.data.source import Source
from nas.data.spectrogram import SpectrogramConfig, log_mel
from search_spaces.errors import InputError

_EXPECTED = "audio_folder reads train/<class>/*.wav, and test/<class>/ if there is one"
_CLIPS = 256  # whose spectrograms are made at a time
_CORRUPT = (OSError, ValueError, EOFError, TypeError, IndexError, struct.error)


def read(config: AudioFolderConfig) -> Source:
    """Spectrograms of the training sounds; of `test/` only the names are looked at."""
    folders = class_folders(config.path, (".wav",), "sounds", _EXPECTED)
    split = _split(*folders.listed(folders.train), config)
    read_test = None
    if folders.test is not None:
        read_test = partial(_split, *folders.listed(folders.test), config)
    return Source(str(config.path / "train"), split, folders.classes, read_test)


def _split(paths: list[Path], labels: Int32[np.ndarray, " n"], config: AudioFolderConfig) -> Split:
    spectrogram = SpectrogramConfig.of(config)
    samples = round(config.seconds * config.sample_rate)
    images: UInt8[np.ndarray, "n frames mels 1"] = np.empty(
        (len(paths), spectrogram.frames(samples), config.mels, 1), np.uint8
    )
    clip = partial(_clip, rate=config.sample_rate, samples=samples)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(paths), _CLIPS):
            some = np.stack([*pool.map(clip, paths[first : first + _CLIPS])])
            missing = _CLIPS - len(some) if len(paths) > _CLIPS else 0
            # Silence fills up the last batch, so that one compiled program serves all.
            whole = np.pad(some, ((0, missing), (0, 0)))
            images[first : first + len(some), ..., 0] = log_mel(whole, spectrogram)[: len(some)]
    return Split(images, labels)


def _clip(path: Path, rate: int, samples: int) -> Float32[np.ndarray, " samples"]:
    """The beginning of a sound, from -1 to 1, all channels mixed; silence follows a shorter one."""
    from scipy.signal import resample_poly

    found, sound = _read(path)
    if found != rate:
        common = math.gcd(found, rate)
        # No more than the beginning needs; the filter looks a little beyond.
        sound = sound[: -(-samples * found // rate) + found // 10]
        sound = resample_poly(sound, rate // common, found // common)
    clip = np.zeros(samples, np.float32)
    clip[: len(sound)] = sound[:samples]
    return clip


def _read(path: Path) -> tuple[int, Float[np.ndarray, " n"]]:
    """Samples a second, and the samples as float64."""
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            # Of chunks that hold no sound.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            rate, data = wavfile.read(path)
    except PermissionError as error:
        raise InputError(f"{path}: can't be read: permission denied; check its rights") from error
    except _CORRUPT as error:
        raise InputError(
            f"{path}: not a whole .wav file ({error}); it must hold uncompressed samples: convert "
            "or delete it"
        ) from error
    if data.size == 0 or rate <= 0:
        raise InputError(f"{path}: holds no sound; every file must have samples: delete it")
    sound = data.reshape(len(data), -1).mean(1, dtype=np.float64)
    if data.dtype == np.uint8:
        sound = (sound - 128) / 128
    elif data.dtype.kind == "i":
        sound /= -float(np.iinfo(data.dtype).min)
    if not np.isfinite(sound).all():
        raise InputError(f"{path}: holds samples that are no numbers; convert or delete it")
    return int(rate), sound
