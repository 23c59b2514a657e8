"""All operations with their real shapes, and what computes them here."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Protocol

import jax
from jax import Array

from kernels.dispatch import InUse, Operation

OPERATIONS = ("depthwise_conv", "pointwise_conv", "conv", "batch_norm", "inverted_residual")


class Spec(Protocol):
    """A real shape of an operation, from its `specs.py`."""

    operation: Operation

    @property
    def name(self) -> str: ...

    def operands(self, batch: int, key: Array) -> tuple[Array, ...]: ...

    def call(self, implementation: str) -> Callable[..., Array]: ...

    def flops(self, batch: int) -> int: ...

    def bytes(self, batch: int) -> int: ...


def specs(operation: str) -> tuple[Spec, ...]:
    """The shapes of an operation in `OPERATIONS`."""
    return import_module(f"kernels.{operation}.specs").SPECS


def in_use(operation: str) -> InUse:
    """The implementation that a float32 call on the default device gets.

    Raises:
        NotImplementedError: none can run; the message has every reason.
    """
    spec = specs(operation)[0]
    shapes = jax.eval_shape(lambda: spec.operands(1, jax.random.key(0)))
    return spec.operation.first(lambda name: jax.eval_shape(spec.call(name), *shapes))[0]


def all_in_use() -> dict[str, InUse]:
    """`in_use` of every operation; C++ that must be built for that is built side by side."""
    with ThreadPoolExecutor(len(OPERATIONS)) as pool:
        return dict(zip(OPERATIONS, pool.map(in_use, OPERATIONS), strict=True))
