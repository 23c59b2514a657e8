"""Depthwise convolution by the fastest implementation that runs here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

# name -> module; each has `depthwise_conv` with the arguments below, and raises
# NotImplementedError with the reason where it can't run.
IMPLEMENTATIONS = {
    "cpu": "kernels.depthwise_conv.cpu",
    "shift_add": "kernels.depthwise_conv.shift_add",
    "reference": "kernels.depthwise_conv.reference",
}
# The fastest first.
_ORDER = {"cpu": ("cpu", "shift_add", "reference")}
_ANYWHERE = ("reference",)

T = TypeVar("T")

_forced: ContextVar[str | None] = ContextVar("depthwise_conv_implementation", default=None)


@dataclass(frozen=True)
class InUse:
    """The implementation that a call takes now, and why not a faster one (empty: it is first)."""

    name: str
    reason: str


def depthwise_conv(
    x: Float[Array, "n h w c"],
    weight: Float[Array, "k k c"],
    stride: int,
    padding: int,
    active: Int[Array, "2"] | None = None,
    *,
    implementation: str | None = None,
) -> Float[Array, "n oh ow c"]:
    """Convolve each channel with its own k x k kernel.

    `oh = (h + 2 * padding - k) // stride + 1`, and the same for `ow`.

    Args:
        x: maps, channels last.
        weight: taps by channels.
        stride: step in pixels, both ways.
        padding: zeros added on each side, in pixels.
        active: (kernel size, channels) that live, as run-time data: an odd size, centred in
            `weight`, and a prefix of the channels. The caller promises that `weight` is zero
            elsewhere, so an implementation may skip it. Outputs of dead channels are zero, and
            so are the gradients of dead taps and channels.
        implementation: a name of `IMPLEMENTATIONS`; default: the fastest that runs here.

    Raises:
        NotImplementedError: no implementation can run; the message has every reason.
    """
    return _first(lambda run: run(x, weight, stride, padding, active), implementation)[1]


@contextmanager
def use_implementation(name: str) -> Iterator[None]:
    """Make every call that is traced inside take this implementation."""
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def implementation_in_use() -> InUse:
    """The choice that a float32 call on the default device gets."""
    x = jax.ShapeDtypeStruct((1, 8, 8, 16), jnp.float32)
    weight = jax.ShapeDtypeStruct((3, 3, 16), jnp.float32)
    return _first(lambda run: jax.eval_shape(partial(run, stride=1, padding=1), x, weight))[0]


def _candidates(name: str | None) -> tuple[str, ...]:
    name = name or _forced.get()
    if name is None:
        device = jax.config.values["jax_default_device"]
        platform = getattr(device, "platform", device) or jax.default_backend()
        return _ORDER.get(platform, _ANYWHERE)
    if name not in IMPLEMENTATIONS:
        known = ", ".join(IMPLEMENTATIONS)
        raise ValueError(f"depthwise_conv: no implementation {name!r}; there are: {known}")
    return (name,)


def _first(call: Callable[[Callable[..., Array]], T], name: str | None = None) -> tuple[InUse, T]:
    reasons: list[str] = []
    for candidate in _candidates(name):
        run = import_module(IMPLEMENTATIONS[candidate]).depthwise_conv
        try:
            result = call(run)
        except NotImplementedError as error:
            reasons.append(f"{candidate}: {error}")
        else:
            return InUse(candidate, "; ".join(reasons)), result
    raise NotImplementedError("depthwise_conv can't run here: " + "; ".join(reasons))
