"""PNG and JPEG images to one array, on all cores."""

import io
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

from search_spaces.errors import InputError

_FORMATS = ("PNG", "JPEG")
# By the number that a camera leaves for how it was held: what puts the picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = frozenset(turn for number, turn in _TURNS.items() if number > 4)
_GRAY = frozenset({"1", "L", "LA"})
_CHUNK = 256  # images a task: enough that handing out tasks costs nothing
# What Pillow raises on damaged bytes depends on where the damage is.
_CORRUPT = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip

T = TypeVar("T")


class _RefusedError(Exception):
    """A whole image that breaks a rule; the message says what, the rule and the fix."""


def decode(
    sources: Sequence[bytes | Path],
    where: Callable[[int], str],
    *,
    channels: int | None = None,
    size: int | None = None,
    size_fix: str,
) -> UInt8[np.ndarray, "n h w c"]:
    """Decode images, upright, in threads (Pillow holds no lock while it decodes).

    Args:
        sources: files, or their bytes; at least one.
        where: how an error line names source `i`.
        channels: 1 grayscale, 3 RGB; None: as the first image is, and a later image in colour is
            refused where that is grayscale.
        size: scale each image (antialiased bilinear) to cover a square of this edge in pixels and
            crop its centre; None: images must have one size.
        size_fix: the way out when they have not.

    Raises:
        InputError: the first image that is damaged or breaks a rule.
    """
    only_gray = channels is None and _explained(_is_gray, sources[0], partial(where, 0))
    mode = "L" if channels == 1 or only_gray else "RGB"
    pixels = partial(_pixels, mode=mode, size=size, only_gray=only_gray)
    shape = _explained(pixels, sources[0], partial(where, 0)).shape
    images = np.empty((len(sources), *shape), np.uint8)

    def fill(start: int) -> None:
        for i in range(start, min(start + _CHUNK, len(sources))):
            image = _explained(pixels, sources[i], partial(where, i))
            if image.shape != shape:
                raise InputError(
                    f"{where(i)}: {image.shape[1]}x{image.shape[0]} pixels while {where(0)} has "
                    f"{shape[1]}x{shape[0]}; all images must have one size: {size_fix}"
                )
            images[i] = image

    executor = ThreadPoolExecutor(os.cpu_count())
    try:
        for _ in executor.map(fill, range(0, len(sources), _CHUNK)):
            pass
    finally:
        executor.shutdown(cancel_futures=True)
    return images


def header_size(path: Path) -> tuple[int, int]:
    """Height and width by an image's header.

    Raises:
        InputError: it is no image.
    """
    width, height = _explained(_size, path, lambda: str(path))
    return height, width


def _size(source: bytes | Path) -> tuple[int, int]:
    with _open(source) as image:
        width, height = image.size
        return (height, width) if _turn(image) in _ON_ITS_SIDE else (width, height)


def _pixels(source: bytes | Path, mode: str, size: int | None, only_gray: bool) -> np.ndarray:
    with _open(source) as image:
        if image.mode[0] in "IF":
            raise _RefusedError("has more than 8 bits a channel; convert it to 8 bits")
        if only_gray and image.mode not in _GRAY:
            raise _RefusedError(
                "is in colour while the first image is grayscale; all must be alike: set "
                "data.channels to 1 or 3 to convert them"
            )
        turn = _turn(image)
        upright = image if turn is None else image.transpose(turn)
        converted = upright if upright.mode == mode else upright.convert(mode)
        if size is not None:
            converted = ImageOps.fit(converted, (size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(converted)
    return pixels.reshape(*pixels.shape[:2], -1)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What puts the picture upright, as viewers show it."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    # A damaged note beside a picture is no damage to the picture.
    except _CORRUPT:
        return None


def _is_gray(source: bytes | Path) -> bool:
    with _open(source) as image:
        return image.mode in _GRAY


def _open(source: bytes | Path) -> Image.Image:
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS)


def _explained(
    function: Callable[[bytes | Path], T], source: bytes | Path, where: Callable[[], str]
) -> T:
    """Call the function; damage becomes the line that the user sees."""
    try:
        return function(source)
    except _RefusedError as error:
        raise InputError(f"{where()}: {error}") from error
    except PermissionError as error:
        raise InputError(
            f"{where()}: can't be read: permission denied; check its rights"
        ) from error
    except _CORRUPT as error:
        # Pillow's message for unknown bytes names a Python object, which helps nobody.
        reason = "unknown bytes" if isinstance(error, Image.UnidentifiedImageError) else error
        raise InputError(
            f"{where()}: corrupt image ({reason}); every image must decode as PNG or JPEG: "
            "replace or delete it"
        ) from error
