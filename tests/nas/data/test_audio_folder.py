import wave
from pathlib import Path

import numpy as np
import pytest

from nas.data.audio_folder import _clip, _read

KEYS = {"type": "audio_folder", "sample_rate": 4000, "seconds": 0.25, "mels": 10}


def write(path: Path, sound: np.ndarray, rate: int = 4000, width: int = 2, channels: int = 1):
    """PCM of `width` bytes a sample, by the standard library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    full = 2 ** (8 * width - 1) - 1
    whole = np.round(np.repeat(sound, channels) * full).astype(np.int64)
    whole += 128 if width == 1 else 0
    raw = whole.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(raw)


def sine(hz: float, rate: int = 4000, seconds: float = 0.25) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, hz in (("high", 1500), ("low", 200)):
        for i in range(8):
            write(tmp_path / "train" / name / f"{i}.wav", sine(hz + 10 * i))
    return tmp_path


def test_sounds_become_spectrograms_of_their_class(folder, read):
    write(folder / "test" / "low" / "a.WAV", sine(250))
    dataset = read(path=folder, **KEYS)
    # Frames of 160 samples every 80, of 1000.
    assert dataset.input_shape == (11, 10, 1)
    assert dataset.classes == ("high", "low")
    assert len(dataset.train) + len(dataset.validation) == 16
    for split in (dataset.train, dataset.validation, dataset.load_test()):
        loudest = split.images[..., 0].mean(1).argmax(1)
        np.testing.assert_array_equal(loudest < 5, split.labels == 1)


def test_more_sounds_than_a_batch(tmp_path, read):
    for i in range(300):
        write(tmp_path / "train" / "ab"[i % 2] / f"{i:03}.wav", np.full(200, i % 7 / 8), 4000)
    dataset = read(path=tmp_path, **KEYS)
    assert len(dataset.train) + len(dataset.validation) + len(dataset.load_test()) == 300
    images = np.concatenate([dataset.train.images, dataset.validation.images])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == 7


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_kind_of_samples(tmp_path, width, channels):
    sound = sine(300)
    write(tmp_path / "a.wav", sound, width=width, channels=channels)
    rate, found = _read(tmp_path / "a.wav")
    assert rate == 4000
    np.testing.assert_allclose(found, sound, atol=1.5 / 2 ** (8 * width - 1))


@pytest.mark.parametrize("rate", [8000, 2205, 11025])
def test_another_rate_is_resampled(tmp_path, rate):
    write(tmp_path / "a.wav", sine(300, rate, seconds=0.5), rate)
    found = _clip(tmp_path / "a.wav", 4000, 1000)
    np.testing.assert_allclose(found[50:950], sine(300)[50:950], atol=0.01)


def test_a_short_sound_is_followed_by_silence_a_long_one_is_cut(tmp_path):
    write(tmp_path / "a.wav", sine(300, seconds=0.1))
    assert np.abs(_clip(tmp_path / "a.wav", 4000, 1000)[400:]).max() == 0
    write(tmp_path / "a.wav", sine(300, seconds=3))
    assert _clip(tmp_path / "a.wav", 4000, 1000).shape == (1000,)


def test_files_that_are_no_sounds(folder, problem):
    path = folder / "train" / "low" / "0.wav"
    whole = path.read_bytes()
    for damaged in (b"RIFF", b"<html>not found</html>", whole[:30]):
        path.write_bytes(damaged)
        assert problem(path=folder, **KEYS).startswith(f"{path}: not a whole .wav file (")
    write(path, np.zeros(0))
    assert problem(path=folder, **KEYS).startswith(f"{path}: holds no sound")


def test_wrong_path(tmp_path, problem):
    expected = f"data.path: {tmp_path / 'absent'}: no such folder; audio_folder reads train/<class>"
    assert problem(path=tmp_path / "absent", **KEYS).startswith(expected)
    (tmp_path / "train" / "a").mkdir(parents=True)
    line = problem(path=tmp_path, **KEYS)
    assert line.endswith(
        "class 'a' has no example in train (.wav); every class needs one: add sounds or remove "
        "the folder"
    )


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"window_ms": 300}, "window_ms: 300 ms are longer than the sounds (0.25 s): lower it"),
        ({"hop_ms": 0.1}, "window_ms and hop_ms must be a sample long at least: raise them"),
        ({"lowest_hz": 2000}, "lowest_hz: 2000 is not below half of sample_rate: lower it"),
    ],
)
def test_parameters_that_do_not_fit(tmp_path, read, keys, line):
    with pytest.raises(ValueError, match="audio_folder") as caught:
        read(path=tmp_path, **KEYS, **keys)
    assert line in str(caught.value)
