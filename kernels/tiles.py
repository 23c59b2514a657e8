"""Block sizes of the Pallas kernels: `tiles.json` in an operation's folder, by kind of device.

`python -m kernels.tune` finds them. Each entry tells when and how it was found.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files

from kernels.dispatch import device_kind

_DEFAULT = "default"

_forced: ContextVar[Mapping[str, int] | None] = ContextVar("tiles", default=None)


def tiles(operation: str, implementation: str) -> Mapping[str, int]:
    """Block sizes for the device at hand, or those for any."""
    forced = _forced.get()
    if forced is not None:
        return forced
    entries = _read(operation)[implementation]
    return entries.get(device_kind(), entries[_DEFAULT])["sizes"]


@contextmanager
def use(sizes: Mapping[str, int]) -> Iterator[None]:
    """Make calls that are traced inside take these sizes."""
    token = _forced.set(sizes)
    try:
        yield
    finally:
        _forced.reset(token)


@cache
def _read(operation: str) -> dict[str, dict]:
    return json.loads(files(f"kernels.{operation}").joinpath("tiles.json").read_text())
