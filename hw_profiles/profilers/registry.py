"""The runners by name: a new one is one file and one line here."""

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module

from hw_profiles.device import DeviceSpec
from hw_profiles.profilers.base import Profiler
from search_spaces.errors import InputError

_RUNNERS = {
    "onnxruntime_cpu": "hw_profiles.profilers.onnxruntime_cpu:OnnxRuntimeCpu",
}


def names() -> list[str]:
    """Names of all runners."""
    return sorted(_RUNNERS)


def create(device: DeviceSpec) -> Profiler:
    """The profiler of a device.

    Raises:
        InputError: the device is never measured, or its runner does not exist.
    """
    if device.runner is None:
        raise InputError(
            f"device {device.id!r} has no runner: it only has the table that came with it and "
            "can't be measured here"
        )
    if device.runner not in _RUNNERS:
        close = get_close_matches(device.runner, _RUNNERS, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"runners: {', '.join(names())}"
        raise InputError(
            f"{device.folder / 'device.yaml'}: runner: unknown runner {device.runner!r}; {hint}"
        )
    module, _, attribute = _RUNNERS[device.runner].partition(":")
    make: Callable[[DeviceSpec], Profiler] = getattr(import_module(module), attribute)
    return make(device)
