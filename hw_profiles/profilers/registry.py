"""The runners by name: a new one is one file and one line here."""

from collections.abc import Callable

from hw_profiles.device import DeviceSpec, elsewhere_command
from hw_profiles.profilers.base import Profiler, Source
from search_spaces.errors import InputError
from search_spaces.named import Registry

_RUNNERS: Registry[Callable[[DeviceSpec], Profiler]] = Registry(
    "runner",
    {
        "onnxruntime_cpu": "hw_profiles.profilers.onnxruntime_cpu:OnnxRuntimeCpu",
        "jax_runtime": "hw_profiles.profilers.jax_runtime:JaxRuntime",
        "compiler_estimate": "hw_profiles.profilers.compiler_estimate:CompilerEstimate",
        "mcu_simulator": "hw_profiles.profilers.mcu_simulator:McuSimulator",
        "vela": "hw_profiles.profilers.vela:Vela",
    },
)
# Runners that are not named here have float32 only.
_FLOAT32 = ("float32",)
_DTYPES = {
    "onnxruntime_cpu": ("float32", "int8"),
    "jax_runtime": ("float32", "bfloat16"),
    "compiler_estimate": ("float32", "bfloat16"),
    "mcu_simulator": ("int8",),
    "vela": ("int8",),
}
_SOURCES: dict[str, Source] = {
    "compiler_estimate": "estimated",
    "mcu_simulator": "simulated",
    "vela": "estimated",
}
names = _RUNNERS.names


def source(device: DeviceSpec) -> Source:
    """How a runner comes by its numbers; those of a table alone were measured elsewhere."""
    return _SOURCES.get(device.runner or "", "measured")


def create(device: DeviceSpec) -> Profiler:
    """The profiler of a device.

    Raises:
        InputError: the device is never measured here, or its runner does not exist or lacks the
            element type.
    """
    if device.runner is None:
        raise InputError(
            f"device {device.id!r} has no runner: it can't be measured here, only elsewhere: "
            f"{elsewhere_command(device.id)}"
        )
    where = f"{device.folder / 'device.yaml'}: "
    runner = _RUNNERS.find(device.runner, f"{where}runner: ")
    if not measures(device.runner, device.dtype):
        dtypes = " and ".join(_DTYPES.get(device.runner, _FLOAT32))
        raise InputError(f"{where}dtype: {device.runner} has {dtypes}, not {device.dtype}")
    return runner(device)


def measures(runner: str, dtype: str) -> bool:
    """Whether a runner measures networks of an element type."""
    return dtype in _DTYPES.get(runner, _FLOAT32)
