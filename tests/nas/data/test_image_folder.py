import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from nas.data.decode import decode
from search_spaces.errors import InputError


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def picture(value: int, *shape: int) -> np.ndarray:
    return np.full(shape, value, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("cat", "dog", "eel")):
        for i in range(10):
            write(tmp_path / "train" / name / f"{i}.png", picture(10 * number + i, 6, 4, 3))
    return tmp_path


def test_classes_are_the_folder_names(folder, read):
    (folder / "train" / "notes.txt").touch()
    (folder / "train" / "cat" / ".hidden").touch()
    dataset = read(type="image_folder", path=folder, validation=0.25)
    assert dataset.classes == ("cat", "dog", "eel")
    assert dataset.input_shape == (6, 4, 3)
    assert (len(dataset.train), len(dataset.validation), len(dataset.load_test())) == (18, 6, 6)
    for split in (dataset.train, dataset.validation, dataset.load_test()):
        np.testing.assert_array_equal(split.images[:, 0, 0, 0] // 10, split.labels)


@pytest.mark.parametrize("part", ["train", "test"])
def test_images_too_deep_or_in_no_class_are_refused(folder, read, problem, part):
    write(folder / "test" / "dog" / "a.png", picture(77, 6, 4, 3))
    (folder / part / "dog" / "notes").mkdir()
    (folder / part / "dog" / "notes" / "who.txt").touch()
    write(folder / part / "dog" / ".thumbnails" / "0.png", picture(1, 2, 2))
    write(folder / part / "dog" / "._0.png", picture(1, 2, 2))
    assert len(read(type="image_folder", path=folder).load_test()) == 1
    deep = folder / part / "dog" / "big" / "old" / "0.png"
    write(deep, picture(1, 6, 4, 3))
    line = problem(type="image_folder", path=folder)
    assert line.startswith(f"{deep.parent}: holds images too deep, 1 below {deep.parents[1]}; a ")
    deep.unlink()
    loose = folder / part / "x.jpg"
    write(loose, picture(1, 6, 4, 3))
    line = problem(type="image_folder", path=folder)
    assert line.startswith(f"{loose}: is in no class; a class is a folder in {folder / part}: move")


def test_a_test_folder_is_the_test_set(folder, read):
    write(folder / "test" / "dog" / "a.PNG", picture(77, 6, 4, 3))
    dataset = read(type="image_folder", path=folder)
    test = dataset.load_test()
    assert len(dataset.train) + len(dataset.validation) == 30
    assert test.labels.tolist() == [1]
    assert (test.images == 77).all()


def test_test_images_of_another_size_are_refused_beforehand(folder, read, problem):
    write(folder / "test" / "dog" / "a.png", picture(77, 8, 4, 3))
    line = problem(type="image_folder", path=folder)
    assert "a.png: 4x8 pixels while those of train have 4x6; all" in line
    assert read(type="image_folder", path=folder, size=4).load_test().images.shape == (1, 4, 4, 3)


def test_grayscale_stays_one_channel(tmp_path, read):
    for name in "ab":
        for i in range(4):
            write(tmp_path / "train" / name / f"{i}.png", picture(i, 5, 5))
        write(tmp_path / "test" / name / "0.png", picture(9, 5, 5))
    assert read(type="image_folder", path=tmp_path).input_shape == (5, 5, 1)
    three = read(type="image_folder", path=tmp_path, channels=3)
    assert three.input_shape == three.load_test().images.shape[1:] == (5, 5, 3)


def test_colour_among_grayscale(tmp_path, read, problem):
    for name in "ab":
        for i in range(4):
            write(tmp_path / "train" / name / f"{i}.png", picture(i, 5, 5))
    write(tmp_path / "train" / "b" / "2.png", picture(2, 5, 5, 3))
    line = problem(type="image_folder", path=tmp_path)
    assert line.startswith(f"{tmp_path / 'train/b/2.png'}: is in colour while the first image")
    assert read(type="image_folder", path=tmp_path, channels=1).input_shape == (5, 5, 1)


def test_grayscale_among_colour_is_converted(folder, read):
    write(folder / "train" / "eel" / "9.jpeg", picture(90, 6, 4))
    dataset = read(type="image_folder", path=folder)
    images = np.concatenate([dataset.train.images, dataset.validation.images])
    images = np.concatenate([images, dataset.load_test().images])
    assert (images == 90).all((1, 2, 3)).sum() == 1


def test_more_than_eight_bits(folder, problem):
    path = folder / "train" / "cat" / "0.png"
    write(path, np.full((6, 4), 40_000, np.uint16))
    line = problem(type="image_folder", path=folder)
    assert line.startswith(f"{path}: has more than 8 bits a channel")


def test_size_scales_and_crops_the_centre(folder, read):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    write(folder / "test" / "cat" / "0.png", wide)
    dataset = read(type="image_folder", path=folder, size=4)
    assert dataset.input_shape == (4, 4, 3)
    np.testing.assert_array_equal(dataset.load_test().images[0, :, 1:3], 200)
    assert dataset.load_test().images.min() > 100


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_photographs_are_upright_however_the_camera_was_held(tmp_path, read, orientation, kind):
    for name in "ab":
        for i in range(4):
            upright = picture(0, 6, 4)
            upright[: i + 1] = 200
            write(tmp_path / "train" / name / f"{i}.png", upright)
    dark = np.arange(24, dtype=np.uint8).reshape(6, 4) * 8
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Viewers turn what is stored; so what is stored is turned the other way.
    stored = {
        1: dark, 2: dark[:, ::-1], 3: dark[::-1, ::-1], 4: dark[::-1], 5: dark.T,
        6: np.rot90(dark), 7: dark[::-1, ::-1].T, 8: np.rot90(dark, -1),
    }[orientation]  # fmt: skip
    path = tmp_path / "test" / "a" / f"turned.{kind}"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=100)
    test = read(type="image_folder", path=tmp_path).load_test()
    np.testing.assert_allclose(test.images[0, ..., 0], dark, atol=6)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_a_damaged_note_of_the_camera_is_passed_over(folder, read):
    Image.fromarray(picture(7, 6, 4, 3)).save(
        folder / "train" / "cat" / "0.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01"
    )
    assert len(read(type="image_folder", path=folder).train) > 0


def test_sizes_that_differ(folder, problem):
    write(folder / "train" / "dog" / "3.png", picture(0, 7, 4, 3))
    line = problem(type="image_folder", path=folder)
    train = folder / "train"
    assert line == (
        f"{train / 'dog/3.png'}: 4x7 pixels while {train / 'cat/0.png'} has 4x6; all images must "
        "have one size: set data.size (pixels) to scale and crop them"
    )


@pytest.mark.parametrize("name", ["cat/0.png", "eel/9.png"])
def test_a_corrupt_image_names_its_file(folder, problem, name):
    path = folder / "train" / name
    path.write_bytes(path.read_bytes()[:44])
    assert problem(type="image_folder", path=folder).startswith(f"{path}: corrupt image (")


def test_a_file_that_is_no_image(folder, problem):
    path = folder / "train" / "cat" / "0.png"
    path.write_bytes(b"<html>not found</html>")
    expected = f"{path}: corrupt image (unknown bytes); every image must decode as PNG or JPEG"
    assert problem(type="image_folder", path=folder).startswith(expected)


def test_wrong_path(tmp_path, problem):
    missing = tmp_path / "absent"
    expected = f"data.path: {missing}: no such folder; image_folder reads train/<class>/*.png"
    assert problem(type="image_folder", path=missing).startswith(expected)
    expected = f"data.path: {tmp_path / 'train'}: no such folder"
    assert problem(type="image_folder", path=tmp_path).startswith(expected)
    (tmp_path / "train").mkdir()
    expected = f"{tmp_path / 'train'}: no class folders"
    assert problem(type="image_folder", path=tmp_path).startswith(expected)


def test_one_class(tmp_path, problem):
    for i in range(4):
        write(tmp_path / "train" / "cat" / f"{i}.png", picture(i, 5, 5))
    expected = f"{tmp_path / 'train'}: one class ('cat'); at least two are needed"
    assert problem(type="image_folder", path=tmp_path).startswith(expected)


def test_a_class_with_no_example(folder, problem):
    (folder / "train" / "fox").mkdir()
    (folder / "train" / "fox" / "a.bmp").touch()
    line = problem(type="image_folder", path=folder)
    assert line.startswith(f"{folder / 'train/fox'}: class 'fox' has no example in train")


def test_a_test_class_that_train_lacks(folder, problem):
    write(folder / "test" / "fox" / "0.png", picture(0, 6, 4, 3))
    line = problem(type="image_folder", path=folder)
    assert line.startswith(f"{folder / 'test/fox'}: class 'fox' has no example in train")


def test_an_empty_test_folder(folder, problem):
    (folder / "test" / "cat").mkdir(parents=True)
    expected = f"{folder / 'test'}: no images; add some, or remove the folder"
    assert problem(type="image_folder", path=folder).startswith(expected)


def test_one_image_a_class_can_not_be_split(tmp_path, problem):
    for name in "ab":
        write(tmp_path / "train" / name / "0.png", picture(0, 5, 5))
    assert "no class has two examples" in problem(type="image_folder", path=tmp_path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["PNG", "JPEG"]),
    cut=st.integers(0, 700),
    flips=st.dictionaries(st.integers(0, 699), st.integers(0, 255), max_size=6),
)
def test_damaged_bytes_decode_or_are_an_input_error(kind, cut, flips):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind)
    data = bytearray(file.getvalue()[:cut])
    for position, value in flips.items():
        if position < len(data):
            data[position] = value
    try:
        images = decode([bytes(data)], lambda i: f"row {i}", channels=3, size=9, size_fix="")
    except InputError as error:
        images, problems = None, error.problems
    else:
        problems = []
    assert len(problems) == (images is None)
    assert images is None or images.shape == (1, 9, 9, 3)
    assert all(line.startswith("row 0: ") and "\n" not in line for line in problems)
