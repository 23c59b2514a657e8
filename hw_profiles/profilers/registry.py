"""The runners by name: a new one is one file and one line here."""

from collections.abc import Callable

from hw_profiles.device import DeviceSpec, elsewhere_command
from hw_profiles.profilers.base import Profiler
from search_spaces.errors import InputError
from search_spaces.named import Registry

_RUNNERS: Registry[Callable[[DeviceSpec], Profiler]] = Registry(
    "runner", {"onnxruntime_cpu": "hw_profiles.profilers.onnxruntime_cpu:OnnxRuntimeCpu"}
)
names = _RUNNERS.names


def create(device: DeviceSpec) -> Profiler:
    """The profiler of a device.

    Raises:
        InputError: the device is never measured here, or its runner does not exist.
    """
    if device.runner is None:
        raise InputError(
            f"device {device.id!r} has no runner: it can't be measured here, only elsewhere: "
            f"{elsewhere_command(device.id)}"
        )
    return _RUNNERS.find(device.runner, f"{device.folder / 'device.yaml'}: runner: ")(device)
