"""Fashion-MNIST from its four IDX files, compressed with gzip or not."""

import gzip
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from nas.data.config import FashionMnistConfig
from nas.data.dataset import Split
from nas.data.source import Source, check_labels, require_folder
from search_spaces.errors import InputError

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

_FIX = (
    "Debian's 'apt-get install dataset-fashion-mnist' puts all four in "
    "/usr/share/datasets/fashion-mnist"
)
_EXPECTED = (
    "fashion_mnist reads a folder with {train,t10k}-images-idx3-ubyte and "
    f"{{train,t10k}}-labels-idx1-ubyte (or .gz of them); {_FIX}"
)
# Two zero bytes, the type (8: unsigned byte), the number of dimensions.
_MAGIC = {"images": 0x00000803, "labels": 0x00000801}


def read(config: FashionMnistConfig) -> Source:
    """60,000 training images of 28x28 pixels; the 10,000 test images are left for later."""
    require_folder(config.path, _EXPECTED)
    files = {
        (part, kind): _find(config.path, f"{part}-{kind}-idx{rank}-ubyte")
        for part in ("train", "t10k")
        for kind, rank in (("images", 3), ("labels", 1))
    }
    for part in ("train", "t10k"):
        _check_counts(files[part, "images"], files[part, "labels"])
    train = _split(files["train", "images"], files["train", "labels"])
    test = partial(_split, files["t10k", "images"], files["t10k", "labels"])
    return Source(str(config.path), train, CLASSES, test)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(f"{folder / name}[.gz]: no such file; {_EXPECTED}")


def _split(images: Path, labels: Path) -> Split:
    return Split(
        _array(images, "images")[..., None],
        check_labels(_array(labels, "labels"), len(CLASSES), str(labels)),
    )


def _check_counts(images: Path, labels: Path) -> None:
    n_images, n_labels = _shape(images, "images")[0], _shape(labels, "labels")[0]
    if n_images != n_labels:
        raise InputError(
            f"{images}: {n_images} images, but {labels.name} has {n_labels} labels; each image "
            f"needs one label: take both files from one source; {_FIX}"
        )


def _shape(path: Path, kind: str) -> tuple[int, ...]:
    """Sizes in an IDX file's header: big-endian 32-bit words, the magic number and each size."""
    n_bytes = 4 * (1 + _MAGIC[kind] % 256)
    header = np.frombuffer(_bytes(path, n_bytes), ">u4")
    if len(header) == 0 or header[0] != _MAGIC[kind]:
        found = f"0x{header[0]:08x}" if len(header) else "nothing"
        raise InputError(
            f"{path}: starts with {found}, but an IDX file of {kind} starts with "
            f"0x{_MAGIC[kind]:08x}; put the right file there; {_FIX}"
        )
    if len(header) * 4 < n_bytes:
        raise _truncated(path, "its header ends early")
    return tuple(int(size) for size in header[1:])


def _array(path: Path, kind: str) -> np.ndarray:
    shape = _shape(path, kind)
    data = _bytes(path)[4 * (1 + len(shape)) :]
    expected = int(np.prod(shape, dtype=np.int64))
    if len(data) != expected:
        raise _truncated(path, f"{len(data)} bytes of data where its header says {expected}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _bytes(path: Path, n_bytes: int = -1) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(n_bytes)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _truncated(path, str(error)) from error
    except OSError as error:
        raise InputError(
            f"{path}: can't be read: {error.strerror or error}; check the file's permissions"
        ) from error
    return data if n_bytes < 0 else data[: len(data) // 4 * 4]


def _truncated(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: damaged or truncated ({reason}); the file must be whole: copy it again; {_FIX}"
    )
