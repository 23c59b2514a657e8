import gzip
from pathlib import Path

import numpy as np
import pytest

from nas.data.config import FASHION_MNIST_FOLDER

N = {"train": 60, "t10k": 20}


def idx(array: np.ndarray) -> bytes:
    sizes = np.array([0x0800 + array.ndim, *array.shape], ">u4")
    return sizes.tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, n in N.items():
        images = rng.integers(0, 256, (n, 5, 4))
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        labels = gzip.compress(idx(np.arange(n) % 10))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(labels)
    return tmp_path


def test_plain_and_compressed_files(folder, read):
    dataset = read(type="fashion_mnist", path=folder, validation=0.5)
    assert dataset.input_shape == (5, 4, 1)
    assert (len(dataset.train), len(dataset.validation), len(dataset.load_test())) == (30, 30, 20)
    images = np.random.default_rng(0).integers(0, 256, (60, 5, 4))
    # Every class has six examples in order, so the label tells the image's place modulo ten.
    for image, label in zip(dataset.train.images, dataset.train.labels, strict=True):
        assert any((image[..., 0] == images[i]).all() for i in range(label, 60, 10))


def test_the_test_images_are_read_by_load_test_only(folder, read):
    path = folder / "t10k-images-idx3-ubyte"
    dataset = read(type="fashion_mnist", path=folder)
    path.write_bytes(idx(np.full((20, 5, 4), 7)))
    assert (dataset.load_test().images == 7).all()


def test_test_images_of_another_shape(folder, problem):
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((20, 6, 4))))
    line = problem(test=True, type="fashion_mnist", path=folder)
    assert "the test images are 6x4x1 while the training images are 5x4x1" in line


def test_wrong_path(tmp_path, problem):
    line = problem(type="fashion_mnist", path=tmp_path / "absent")
    assert line.startswith(f"data.path: {tmp_path / 'absent'}: no such folder; fashion_mnist reads")
    assert "apt-get install dataset-fashion-mnist" in line
    (tmp_path / "file").touch()
    assert "a file, but must be a folder" in problem(type="fashion_mnist", path=tmp_path / "file")


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"])
def test_missing_file(folder, problem, name):
    (folder / name).unlink()
    line = problem(type="fashion_mnist", path=folder)
    assert line.startswith(f"{folder / name.removesuffix('.gz')}[.gz]: no such file")
    assert "apt-get install dataset-fashion-mnist" in line


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_wrong_magic_number(folder, problem, part):
    path = folder / f"{part}-images-idx3-ubyte"
    path.write_bytes(idx(np.zeros(N[part])))
    line = problem(type="fashion_mnist", path=folder)
    assert line.startswith(f"{path}: starts with 0x00000801, but an IDX file of images starts with")
    assert "0x00000803" in line


def test_an_empty_file(folder, problem):
    (folder / "train-images-idx3-ubyte").write_bytes(b"")
    assert "starts with nothing" in problem(type="fashion_mnist", path=folder)


@pytest.mark.parametrize("n_bytes", [6, 100])
def test_a_truncated_plain_file(folder, problem, n_bytes):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:n_bytes])
    line = problem(type="fashion_mnist", path=folder)
    assert line.startswith(f"{path}: damaged or truncated (")


@pytest.mark.parametrize("damage", [lambda data: data[:-6], lambda data: b"not gzip" + data])
def test_a_damaged_gzip_file(folder, problem, damage):
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    line = problem(type="fashion_mnist", path=folder)
    assert line.startswith(f"{path}: damaged or truncated (")
    assert "copy it again" in line


def test_images_and_labels_differ_in_number(folder, problem):
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(19))))
    line = problem(type="fashion_mnist", path=folder)
    assert "20 images, but t10k-labels-idx1-ubyte.gz has 19 labels" in line


def test_labels_out_of_range(folder, problem):
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.arange(60) % 12)))
    line = problem(type="fashion_mnist", path=folder)
    assert line.startswith(f"{path}: label 10 of example 10 (and 9 more) is out of range")
    assert "0..9" in line


def test_a_class_with_no_example(folder, problem):
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.arange(60) % 9)))
    line = problem(type="fashion_mnist", path=folder)
    assert line.startswith(f"{folder}: class 'Ankle boot' has no example in train")


@pytest.mark.skipif(not FASHION_MNIST_FOLDER.is_dir(), reason="dataset-fashion-mnist is missing")
def test_the_real_files(read):
    dataset = read(type="fashion_mnist")
    assert dataset.input_shape == (28, 28, 1)
    assert np.bincount(dataset.train.labels).tolist() == [5400] * 10
    assert np.bincount(dataset.validation.labels).tolist() == [600] * 10
    assert np.bincount(dataset.load_test().labels).tolist() == [1000] * 10
    # The published figures of the 60,000 training images.
    np.testing.assert_allclose(dataset.mean, [0.2860], atol=2e-3)
    np.testing.assert_allclose(dataset.std, [0.3530], atol=2e-3)
