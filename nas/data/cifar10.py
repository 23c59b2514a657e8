"""CIFAR-10 as Hugging Face stores it: Parquet files with encoded images and labels."""

import json
import re
from bisect import bisect_right
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.data.config import Cifar10Config
from nas.data.dataset import Split
from nas.data.decode import decode
from nas.data.source import Source, check_labels, require_folder
from search_spaces.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

_EXPECTED = (
    "cifar10 reads a folder with train.parquet and test.parquet, or train-*.parquet and "
    "test-*.parquet, as in the dataset 'cifar10' of Hugging Face"
)
_IMAGE_COLUMNS = ("img", "image")


def read(config: Cifar10Config) -> Source:
    """The training images, decoded; of the test files only the columns are checked."""
    require_folder(config.path, _EXPECTED)
    train, test = _files(config.path, "train"), _files(config.path, "test")
    schemas = [_checked_schema(path)[0] for path in (*train, *test)]
    classes = _classes(schemas[0])
    return Source(str(config.path), _split(train, classes), classes, partial(_split, test, classes))


def _files(folder: Path, part: str) -> list[Path]:
    whole = folder / f"{part}.parquet"
    if whole.is_file():
        return [whole]
    shards = sorted(folder.glob(f"{part}-*.parquet"))
    if not shards:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise InputError(f"{whole}: no such file (the folder has: {there}); {_EXPECTED}")
    numbered = re.search(r"-of-0*(\d+)$", shards[0].stem)
    if numbered and int(numbered[1]) != len(shards):
        raise InputError(
            f"{shards[0]}: one of {numbered[1]} shards, but the folder has {len(shards)}; all are "
            "needed: copy the rest"
        )
    return shards


def _checked_schema(path: Path) -> tuple["pa.Schema", str]:
    """The schema, and the name of the image column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    columns = f"it has: {', '.join(schema.names) or 'none'}"
    image = next((name for name in _IMAGE_COLUMNS if name in schema.names), None)
    if image is None:
        raise InputError(
            f"{path}: no column 'img' or 'image' ({columns}); one must hold the encoded images: "
            "rename yours"
        )
    type_ = schema.field(image).type
    if not (pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0):
        raise InputError(
            f"{path}: column '{image}' is {type_}; it must be a struct with a field 'bytes', the "
            "encoded image: write it with the Image feature of Hugging Face datasets"
        )
    if "label" not in schema.names:
        raise InputError(
            f"{path}: no column 'label' ({columns}); it must hold the class number: rename yours"
        )
    if not pa.types.is_integer(schema.field("label").type):
        raise InputError(
            f"{path}: column 'label' is {schema.field('label').type}; it must hold whole numbers: "
            "write class numbers"
        )
    return schema, image


def _classes(schema: "pa.Schema") -> tuple[str, ...]:
    """Class names from the metadata that Hugging Face writes, else those of CIFAR-10."""
    try:
        metadata = json.loads((schema.metadata or {})[b"huggingface"])
        return tuple(str(name) for name in metadata["info"]["features"]["label"]["names"])
    except (KeyError, TypeError, ValueError):
        return CLASSES


def _split(files: list[Path], classes: tuple[str, ...]) -> Split:
    import pyarrow as pa
    import pyarrow.parquet as pq

    encoded: list[bytes] = []
    labels: list[np.ndarray] = []
    starts: list[int] = []
    for path in files:
        starts.append(len(encoded))
        _, column = _checked_schema(path)
        try:
            table = pq.read_table(path, columns=[column, "label"])
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error
        for name in (column, "label"):
            if table[name].null_count:
                raise _empty(path, name, int(table[name].is_null().to_numpy().argmax()))
        for chunk in table[column].chunks:
            images = chunk.field("bytes")
            if images.null_count:
                row = len(encoded) - starts[-1] + int(images.is_null().to_numpy(False).argmax())
                raise _empty(path, f"{column}.bytes", row)
            encoded.extend(images.to_pylist())
        labels.append(check_labels(table["label"].to_numpy(), len(classes), str(path)))
    if not encoded:
        raise InputError(f"{files[0]}: no rows; each row must be an image: write it again")

    def where(i: int) -> str:
        shard = bisect_right(starts, i) - 1
        return f"{files[shard]}: row {i - starts[shard]}"

    size_fix = "resize the others and write the files again"
    images = decode(encoded, where, channels=3, size_fix=size_fix)
    return Split(images, np.concatenate(labels))


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0]
    return InputError(f"{path}: not a whole Parquet file ({reason}): copy it again")


def _empty(path: Path, column: str, row: int) -> InputError:
    return InputError(
        f"{path}: row {row}: no value in column '{column}'; every row needs one: drop the row"
    )
