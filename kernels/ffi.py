"""C++ implementations as calls of XLA's foreign-function interface."""

import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kernels.epilogue import ACTIVATIONS
from kernels.toolchain import load_library

# Of the C++ enum, by the name of the activation.
NUMBER = {name: np.int64(i) for i, name in enumerate(ACTIVATIONS)}
_SHARED = tuple(sorted((Path(__file__).parent / "cpp").glob("*.h")))


class Library:
    """The handlers of one operation's `cpu.cc`, compiled and registered at the first call.

    Args:
        source: the C++ file; the headers beside it belong to it.
        handlers: exported symbol of each target, by the target's name.
    """

    def __init__(self, source: Path, handlers: Mapping[str, str]) -> None:
        self.sources = (source, *sorted(source.parent.glob("*.h")), *_SHARED)
        self.handlers = handlers
        self._register = cache(self._load)

    def check(self, *arrays: Array) -> None:
        """Make the handlers ready.

        Raises:
            NotImplementedError: an array is not float32, or the library can't be built here.
        """
        if sys.platform == "win32":
            raise NotImplementedError("not on Windows")
        for array in arrays:
            if array.dtype != jnp.float32:
                raise NotImplementedError(f"float32 only, not {array.dtype}")
        self._register()

    def call(
        self,
        target: str,
        shapes: tuple[tuple[int, ...], ...],
        vmap_method: str = "sequential",
        in_place: int | None = None,
    ) -> Callable[..., Any]:
        """A function of the target's arrays and attributes.

        Args:
            target: a key of `handlers`.
            shapes: of the float32 results; the function returns as many, in a tuple.
            vmap_method: as for `jax.ffi.ffi_call`.
            in_place: the argument whose memory the first result may take.
        """
        results = tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
        aliases = None if in_place is None else {in_place: 0}
        return jax.ffi.ffi_call(
            target, results, vmap_method=vmap_method, input_output_aliases=aliases
        )

    def _load(self) -> None:
        include = (str(Path(__file__).parent), jax.ffi.include_dir())
        library = load_library(self.sources, include=include)
        for target, symbol in self.handlers.items():
            handler = jax.ffi.pycapsule(getattr(library, symbol))
            jax.ffi.register_ffi_target(target, handler, platform="cpu")
