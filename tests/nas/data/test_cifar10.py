import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

NAMES = [f"class {i}" for i in range(10)]
METADATA = json.dumps({"info": {"features": {"label": {"names": NAMES, "_type": "ClassLabel"}}}})
BENCH = os.environ.get("HWNAS_BENCH_DATA")


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pictures(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 5, 3), np.uint8)


def table(encoded: Sequence[bytes | None], labels: list, column: str = "img") -> pa.Table:
    rows = [{"bytes": data, "path": None} for data in encoded]
    type_ = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    made = pa.table({column: pa.array(rows, type_), "label": pa.array(labels)})
    return made.replace_schema_metadata({"huggingface": METADATA})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    train = [png(picture) for picture in pictures(40, seed=0)]
    pq.write_table(table(train, [i % 10 for i in range(40)]), tmp_path / "train.parquet")
    test = [png(picture) for picture in pictures(20, seed=1)]
    pq.write_table(table(test, [i % 10 for i in range(20)]), tmp_path / "test.parquet")
    return tmp_path


def test_images_labels_and_class_names(folder, read):
    dataset = read(type="cifar10", path=folder, validation=0.25)
    assert dataset.classes == tuple(NAMES)
    assert dataset.input_shape == (6, 5, 3)
    assert (len(dataset.train), len(dataset.validation)) == (30, 10)
    np.testing.assert_array_equal(dataset.load_test().images, pictures(20, seed=1))
    np.testing.assert_array_equal(dataset.load_test().labels, np.arange(20) % 10)
    everything = np.concatenate([dataset.train.images, dataset.validation.images])
    expected = pictures(40, seed=0)
    np.testing.assert_array_equal(np.sort(everything, 0), np.sort(expected, 0))
    np.testing.assert_allclose(dataset.mean, (dataset.train.images / 255).mean((0, 1, 2)), 1e-6)
    np.testing.assert_allclose(dataset.std, (dataset.train.images / 255).std((0, 1, 2)), 1e-6)


def test_shards_and_the_other_column_name(folder, read):
    whole = read(type="cifar10", path=folder)
    train = pq.read_table(folder / "train.parquet")
    train = train.rename_columns(["image", "label"]).replace_schema_metadata(train.schema.metadata)
    (folder / "train.parquet").unlink()
    pq.write_table(train.slice(0, 15), folder / "train-00000-of-00002.parquet")
    pq.write_table(train.slice(15), folder / "train-00001-of-00002.parquet", row_group_size=7)
    assert read(type="cifar10", path=folder).digest() == whole.digest()


def test_class_names_without_metadata(folder, read):
    for name in ("train.parquet", "test.parquet"):
        bare = pq.read_table(folder / name).replace_schema_metadata(None)
        pq.write_table(bare, folder / name)
    assert read(type="cifar10", path=folder).classes[:2] == ("airplane", "automobile")


def test_the_test_images_are_read_by_load_test_only(folder, read, problem):
    corrupt = table([b"nothing"] * 20, [i % 10 for i in range(20)])
    pq.write_table(corrupt, folder / "test.parquet")
    read(type="cifar10", path=folder)
    line = problem(test=True, type="cifar10", path=folder)
    assert line.startswith(f"{folder / 'test.parquet'}: row 0: corrupt image (unknown bytes)")


def test_wrong_path_and_missing_file(folder, problem):
    assert "no such folder" in problem(type="cifar10", path=folder / "absent")
    (folder / "test.parquet").unlink()
    line = problem(type="cifar10", path=folder)
    assert line.startswith(f"{folder / 'test.parquet'}: no such file (the folder has: train.parqu")
    assert "test-*.parquet" in line


def test_a_missing_shard(folder, problem):
    (folder / "train.parquet").rename(folder / "train-00000-of-00003.parquet")
    assert "one of 3 shards, but the folder has 1" in problem(type="cifar10", path=folder)


@pytest.mark.parametrize(
    ("names", "missing"),
    [(["picture", "label"], "'img' or 'image'"), (["img", "target"], "'label'")],
)
@pytest.mark.parametrize("file", ["train.parquet", "test.parquet"])
def test_missing_column(folder, problem, names, missing, file):
    pq.write_table(pq.read_table(folder / file).rename_columns(names), folder / file)
    line = problem(type="cifar10", path=folder)
    assert line.startswith(f"{folder / file}: no column {missing} (it has: {', '.join(names)})")


def test_columns_of_the_wrong_type(folder, problem):
    labels = pa.array([str(i % 10) for i in range(40)])
    whole = pq.read_table(folder / "train.parquet")
    pq.write_table(whole.set_column(1, "label", labels), folder / "train.parquet")
    assert "column 'label' is string" in problem(type="cifar10", path=folder)
    pq.write_table(whole.set_column(0, "img", labels), folder / "train.parquet")
    assert "column 'img' is string; it must be a struct" in problem(type="cifar10", path=folder)


@pytest.mark.parametrize("row", [0, 17, 39])
def test_a_corrupt_image_names_its_row(folder, problem, row):
    encoded = [png(picture) for picture in pictures(40, seed=0)]
    encoded[row] = encoded[row][:60]
    pq.write_table(table(encoded, [i % 10 for i in range(40)]), folder / "train.parquet")
    line = problem(type="cifar10", path=folder)
    assert line.startswith(f"{folder / 'train.parquet'}: row {row}: corrupt image (")
    assert "replace or delete it" in line


def test_a_corrupt_image_in_a_shard_names_the_row_of_that_shard(folder, problem):
    encoded = [png(picture) for picture in pictures(40, seed=0)]
    encoded[30] = b"nothing"
    train = table(encoded, [i % 10 for i in range(40)])
    (folder / "train.parquet").unlink()
    pq.write_table(train.slice(0, 25), folder / "train-0.parquet")
    pq.write_table(train.slice(25), folder / "train-1.parquet")
    line = problem(type="cifar10", path=folder)
    assert line.startswith(f"{folder / 'train-1.parquet'}: row 5: corrupt image")


def test_missing_values(folder, problem):
    encoded: list[bytes | None] = [png(picture) for picture in pictures(40, seed=0)]
    labels: list = [i % 10 for i in range(40)]
    path = folder / "train.parquet"
    pq.write_table(table(encoded, [*labels[:-1], None]), path)
    expected = f"{path}: row 39: no value in column 'label'"
    assert problem(type="cifar10", path=folder).startswith(expected)
    encoded[3] = None
    pq.write_table(table(encoded, labels), path)
    expected = f"{path}: row 3: no value in column 'img.bytes'"
    assert problem(type="cifar10", path=folder).startswith(expected)


def test_images_of_two_sizes(folder, problem):
    encoded = [png(picture) for picture in pictures(40, seed=0)]
    encoded[9] = png(np.zeros((6, 6, 3), np.uint8))
    pq.write_table(table(encoded, [i % 10 for i in range(40)]), folder / "train.parquet")
    line = problem(type="cifar10", path=folder)
    assert "row 9: 6x6 pixels while" in line
    assert "row 0 has 5x6" in line


@pytest.mark.parametrize("label", [10, -1, 2**40])
def test_labels_out_of_range(folder, problem, label):
    encoded = [png(picture) for picture in pictures(40, seed=0)]
    labels = [i % 10 for i in range(40)]
    labels[12] = label
    pq.write_table(table(encoded, labels), folder / "train.parquet")
    expected = f"{folder / 'train.parquet'}: label {label} of example 12 is out of range"
    assert problem(type="cifar10", path=folder).startswith(expected)


def test_a_class_with_no_example(folder, problem):
    train = pq.read_table(folder / "train.parquet")
    keep = [i for i in range(40) if i % 10 != 4]
    pq.write_table(train.take(keep), folder / "train.parquet")
    line = problem(type="cifar10", path=folder)
    assert line.startswith(f"{folder}: class 'class 4' has no example in train")


def test_no_rows(folder, problem):
    train = pq.read_table(folder / "train.parquet")
    pq.write_table(train.slice(0, 0), folder / "train.parquet")
    assert "no rows" in problem(type="cifar10", path=folder)


@pytest.mark.parametrize("keep", [0, 100, -20])
def test_a_truncated_parquet_file(folder, problem, keep):
    path = folder / "test.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    assert problem(type="cifar10", path=folder).startswith(f"{path}: not a whole Parquet file (")


def test_damaged_pages(folder, problem):
    path = folder / "train.parquet"
    data = bytearray(path.read_bytes())
    data[4:200] = b"\xff" * 196
    path.write_bytes(data)
    assert problem(type="cifar10", path=folder).startswith(f"{path}: ")


@pytest.mark.skipif(not BENCH, reason="HWNAS_BENCH_DATA names no folder")
def test_the_real_test_images(read):
    from nas.data.cifar10 import CLASSES, _split

    split = _split([Path(str(BENCH)) / "cifar10" / "test.parquet"], CLASSES)
    assert split.images.shape == (10_000, 32, 32, 3)
    assert np.bincount(split.labels).tolist() == [1000] * 10
