"""Which accuracies a verified network has: in float32, in 8 bits, or in both."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest

from hw_profiles.device import DeviceSpec, load_device
from hw_profiles.profilers.base import Measurement
from nas.config.schema import Experiment
from nas.log import Log
from nas.verify import _accuracies, _compiled, _scheme
from nas.workbench import Workbench
from search_spaces.ir.interpret import init

DEVICES = {
    dtype: DeviceSpec(id=f"board_{dtype}", kind="cpu", runner=None, dtype=dtype)
    for dtype in ("float32", "int8")
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A super-network of small ReLU networks that has learnt nothing."""
    space = {
        "type": "nasbench_macro",
        "resolution": [8],
        "channels": 1,
        "classes": 10,
        "stem": 8,
        "widths": [8, 16],
        "strides": [2, 1],
        "layers": [1, 1],
        "head": 32,
    }
    experiment = Experiment.model_validate(
        {
            "name": "tiny",
            "space": space,
            "data": {"type": "digits"},
            "supernet": {"epochs": 1},
            "devices": ["board"],
            "objectives": [{"metric": "accuracy"}],
            "evaluation": {"calibration_images": 256},
        }
    )
    bench = Workbench(experiment, Path(tmp_path_factory.mktemp("run")))
    bench.__dict__["params"] = init(bench.space.build(None), jax.random.key(0))
    return bench


def accuracies(bench: Workbench, dtypes: Sequence[str]) -> dict[str, np.ndarray]:
    bench.__dict__["devices"] = {DEVICES[dtype].id: DEVICES[dtype] for dtype in dtypes}
    archs = bench.space.largest()[None]
    with Log() as log:
        return _accuracies(bench, archs, [bench.space.build(archs[0])], log)


def test_a_network_is_judged_as_its_devices_compute(bench: Workbench) -> None:
    floats = accuracies(bench, ["float32"])
    assert set(floats) == {"accuracy", "test_accuracy"}
    both = accuracies(bench, ["float32", "int8"])
    assert set(both) == {*floats, "accuracy_int8", "test_accuracy_int8"}
    only = accuracies(bench, ["int8"])
    assert set(only) == {*floats, "accuracy_float32", "test_accuracy_float32"}
    for name, values in floats.items():
        np.testing.assert_array_equal(both[name], values)
        np.testing.assert_array_equal(only[f"{name}_float32"], values)
        np.testing.assert_array_equal(only[name], both[f"{name}_int8"])
        assert np.abs(only[name] - values).max() < 0.05
        assert only[name].shape == values.shape == (1,)


def test_an_npu_computes_in_8_bits_throughout_as_a_microcontroller_does() -> None:
    assert _scheme(load_device("ethosu55_128")) == _scheme(load_device("stm32f746")) == "mcu"


def test_memory_of_whole_networks_is_what_their_compiler_planned() -> None:
    untold = Measurement("a", 1.0, 0.0, 1)
    told = [Measurement(key, 1.0, 0.0, 1, sram_kib=4.0, flash_kib=9.5) for key in "ab"]
    assert _compiled([untold]) == {}
    assert _compiled([told[0], untold]) == {}
    assert {name: kib.tolist() for name, kib in _compiled(told).items()} == {
        "peak_sram_kib": [4.0, 4.0],
        "flash_kib": [9.5, 9.5],
    }
