"""An operation with several implementations: the fastest that runs here is taken."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

import jax

# The fastest first; an implementation that an operation lacks is passed over.
_ORDER = {
    "cpu": ("cpu", "shift_add", "reference"),
    "gpu": ("pallas_gpu", "reference"),
    "tpu": ("pallas_tpu", "reference"),
}
_ANYWHERE = ("reference",)
_GPU = ("gpu", "cuda", "rocm")
# What Triton compiles for.
_TRITON_NEEDS = 8.0
# What an implementation runs on, where it does not run everywhere.
_PLATFORM = {"cpu": "cpu", "pallas_gpu": "gpu", "pallas_tpu": "tpu"}

T = TypeVar("T")

_interpreted: ContextVar[bool] = ContextVar("interpreted", default=False)
_target: ContextVar[tuple[str, str] | None] = ContextVar("platform", default=None)


@contextmanager
def platform(name: str, kind: str = "") -> Iterator[None]:
    """Make calls that are traced inside take the implementations of a platform that isn't here.

    For `jax.export` and for compiling ahead of time: the default device would decide otherwise.
    What was jitted and traced before keeps what it took then.

    Args:
        name: `cpu`, `gpu` (or `cuda`, `rocm`), `tpu`.
        kind: as `device_kind` gives it, for block sizes; default: those for any device.
    """
    token = _target.set(("gpu" if name in _GPU else name, kind))
    try:
        yield
    finally:
        _target.reset(token)


@contextmanager
def interpreted() -> Iterator[None]:
    """Run Pallas kernels that are traced inside in Pallas' interpreter, on any machine."""
    token = _interpreted.set(True)
    try:
        yield
    finally:
        _interpreted.reset(token)


def device_kind() -> str:
    """Of the default device, or of `platform`: `sm_90` for an Nvidia GPU, JAX's name for others."""
    target = _target.get()
    if target is not None:
        return target[1]
    capability = _compute_capability()
    return _device().device_kind if capability is None else f"sm_{round(capability * 10)}"


def is_interpreted() -> bool:
    """Whether `interpreted` is around."""
    return _interpreted.get()


@dataclass(frozen=True)
class InUse:
    """The implementation that a call takes now, and why not a faster one (empty: it is first)."""

    name: str
    reason: str


class Operation:
    """One operation and the modules that implement it.

    Args:
        name: of the operation, and of the function that each module has for it. The function
            raises NotImplementedError with the reason where it can't run.
        modules: module of each implementation.
    """

    def __init__(self, name: str, modules: Mapping[str, str]) -> None:
        self.name = name
        self.modules = modules
        self._forced: ContextVar[str | None] = ContextVar(f"{name}_implementation", default=None)

    def run(self, call: Callable[[Callable[..., Any]], T], implementation: str | None = None) -> T:
        """What `call` returns for the first implementation that can run.

        Args:
            call: is given an implementation's function and calls it.
            implementation: the only one to try.

        Raises:
            NotImplementedError: none can run; the message has every reason.
            ValueError: no such implementation.
        """
        return self.first(lambda name: call(self.function(name)), implementation)[1]

    def function(self, implementation: str) -> Callable[..., Any]:
        """The function of an implementation."""
        return getattr(import_module(self.modules[implementation]), self.name)

    def first(self, call: Callable[[str], T], implementation: str | None = None) -> tuple[InUse, T]:
        """As `run`, but `call` is given a name; also tells which one it was."""
        reasons: list[str] = []
        for candidate in self._candidates(implementation):
            try:
                _check(candidate)
                result = call(candidate)
            except NotImplementedError as error:
                reasons.append(f"{candidate}: {error}")
            else:
                return InUse(candidate, "; ".join(reasons)), result
        raise NotImplementedError(f"{self.name} can't run here: " + "; ".join(reasons))

    def here(self) -> list[str]:
        """The implementations made for the default device, whether or not they can be built."""
        platform = _platform()
        return [name for name in self.modules if _PLATFORM.get(name, platform) == platform]

    @contextmanager
    def use(self, implementation: str) -> Iterator[None]:
        """Make every call that is traced inside take this implementation."""
        token = self._forced.set(implementation)
        try:
            yield
        finally:
            self._forced.reset(token)

    def _candidates(self, name: str | None) -> tuple[str, ...]:
        name = name or self._forced.get()
        if name is None:
            order = _ORDER.get(_platform(), _ANYWHERE)
            return tuple(name for name in order if name in self.modules)
        if name not in self.modules:
            known = ", ".join(self.modules)
            raise ValueError(f"{self.name}: no implementation {name!r}; there are: {known}")
        return (name,)


def _platform() -> str:
    target = _target.get()
    if target is not None:
        return target[0]
    device = jax.config.values["jax_default_device"]
    name = getattr(device, "platform", device) or jax.default_backend()
    return "gpu" if name in _GPU else name


def _device() -> Any:
    device = jax.config.values["jax_default_device"]
    return device if isinstance(device, jax.Device) else jax.devices(device)[0]


def _check(implementation: str) -> None:
    """Refuse what the compiler for the device at hand would refuse later.

    Raises:
        NotImplementedError: a GPU from before Triton's oldest.
    """
    if _PLATFORM.get(implementation) == "gpu" and _target.get() is None and not is_interpreted():
        capability = _compute_capability()
        if capability is not None and capability < _TRITON_NEEDS:
            raise NotImplementedError(f"compute capability {capability}, needed {_TRITON_NEEDS}")


def _compute_capability() -> float | None:
    """Of the default device, where it is an Nvidia GPU."""
    try:
        return float(getattr(_device(), "compute_capability", ""))
    except ValueError:
        return None
