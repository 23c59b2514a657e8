from pathlib import Path
from typing import Any

import numpy as np
import pytest


def arrays(**changed: np.ndarray | None) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    made: dict[str, np.ndarray | None] = {
        "x_train": rng.integers(0, 256, (30, 4, 5, 2), np.uint8),
        "y_train": np.arange(30) % 3,
        "x_test": rng.integers(0, 256, (9, 4, 5, 2), np.uint8),
        "y_test": np.arange(9) % 3,
    } | changed
    return {name: array for name, array in made.items() if array is not None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.npz"


def test_arrays_are_split(path, read):
    np.savez(path, **arrays())
    dataset = read(type="npz", path=path, validation=0.2)
    assert (len(dataset.train), len(dataset.validation)) == (24, 6)
    assert dataset.classes == ("0", "1", "2")
    np.testing.assert_array_equal(dataset.load_test().images, arrays()["x_test"])
    np.testing.assert_array_equal(dataset.load_test().labels, arrays()["y_test"])


def test_a_label_beyond_the_number_of_examples(path, problem):
    np.savez(path, **arrays(y_train=np.arange(30) * 10**12))
    line = problem(type="npz", path=path)
    assert f"label {29 * 10**12} among 30 examples" in line


def test_test_images_of_another_shape_are_refused_beforehand(path, problem, read):
    np.savez(path, **arrays(x_test=np.zeros((9, 5, 5, 2), np.uint8)))
    line = problem(type="npz", path=path)
    assert "an image of x_test is (5, 5, 2), one of x_train (4, 5, 2)" in line
    gray = {"x_train": np.zeros((30, 4, 5), np.uint8), "x_test": np.zeros((9, 4, 5, 1), np.uint8)}
    np.savez(path, **arrays(**gray))
    assert read(type="npz", path=path).load_test().images.shape == (9, 4, 5, 1)


def test_images_without_a_channel_axis_and_labels_in_a_column(path, read):
    made = arrays()
    images, labels = made["x_train"][..., 0], made["y_train"][:, None]
    np.savez_compressed(path, x_train=images, y_train=labels)
    dataset = read(type="npz", path=path)
    assert dataset.input_shape == (4, 5, 1)
    assert len(dataset.load_test()) == 6


def test_the_test_arrays_are_read_by_load_test_only(path, read):
    np.savez(path, **arrays())
    dataset = read(type="npz", path=path)
    path.unlink()
    assert len(dataset.train) == 27
    with pytest.raises(ValueError, match="not a whole"):
        dataset.load_test()


def test_wrong_path(tmp_path, problem):
    assert "no such file; npz reads" in problem(type="npz", path=tmp_path / "absent.npz")
    assert "a folder, but must be a file" in problem(type="npz", path=tmp_path)


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_missing_array(path, problem, name):
    np.savez(path, **arrays(**{name: None}))
    line = problem(type="npz", path=path)
    assert line.startswith(f"{path}: no array '{name}' (it has: ")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"x_train": np.zeros((30, 4, 5, 2))}, "x_train is float64; it must be uint8"),
        ({"x_test": np.zeros((9, 4, 5, 2))}, "x_test is float64; it must be uint8"),
        ({"x_train": np.zeros((30, 3, 8, 8), np.uint8)}, "channels last"),
        ({"x_train": np.zeros((30, 8), np.uint8)}, "x_train has shape (30, 8)"),
        ({"x_train": np.zeros((0, 4, 5), np.uint8), "y_train": np.zeros(0, int)}, "(0, 4, 5)"),
        ({"y_train": np.zeros(29, int)}, "y_train is int64 of shape (29,); it must be whole"),
        ({"y_test": np.zeros(9)}, "y_test is float64 of shape (9,)"),
        ({"y_train": np.array(["a"] * 30)}, "y_train is <U1"),
        ({"y_train": np.array([None] * 30)}, "y_train is object"),
        ({"y_train": np.arange(30) % 3 - 1}, "y_train: label -1 of example 0 (and 9 more) is"),
        ({"y_train": np.full(30, -1)}, "y_train: label -1 of example 0 (and 29 more) is"),
        ({"y_train": np.arange(30) % 3 * 2}, "class '1' has no example in train (nor have 1 more)"),
        ({"y_train": np.zeros(30, int)}, "one class ('0'); at least two are needed"),
        ({"y_test": np.arange(9)}, "y_test: label 3 of example 3 (and 5 more) is out of range"),
        (
            {"x_test": np.zeros((9, 4, 4, 2), np.uint8)},
            "an image of x_test is (4, 4, 2), one of",
        ),
    ],
)
def test_wrong_arrays(path, problem, changed, expected):
    np.savez(path, **arrays(**changed))
    assert expected in problem(test=True, type="npz", path=path)


@pytest.mark.parametrize("keep", [0, 10, 1000, -30])
def test_a_truncated_file(path, problem, keep):
    np.savez(path, **arrays())
    path.write_bytes(path.read_bytes()[:keep])
    assert problem(type="npz", path=path).startswith(f"{path}: not a whole .npz file (")


def test_damaged_content(path, problem):
    np.savez(path, **arrays())
    data = bytearray(path.read_bytes())
    data[400] ^= 255
    path.write_bytes(data)
    assert "Bad CRC-32" in problem(type="npz", path=path)


def test_an_archive_of_something_else(path, problem):
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello, this is not an array")
    assert problem(type="npz", path=path).startswith(f"{path}: not a whole .npz file (")
