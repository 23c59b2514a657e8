"""A run of the whole chain that takes seconds and has no clock in it.

The device has a table and no runner, so every figure is computed; the same seed must give the same
bytes, however often the run is killed on the way.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hw_profiles.device import load_device
from hw_profiles.profilers.base import Measurement
from hw_profiles.table import LatencyTable, settings_of
from hw_profiles.worklist import worklist
from nas.config import load
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count

_EXPERIMENT = """
name: tiny
space:
  type: mobilenet_v3
  resolution: [8]
  channels: 1
  classes: 10
  stem: 8
  stem_stride: 2
  widths: [8, 16]
  strides: [1, 2]
  hswish: [false, true]
  squeeze_excite: [false, true]
  depth: [1, 2]
  kernel: [3, 5]
  expand: [2, 3]
  head: [16, 24]
data: {type: digits}
supernet: {epochs: 2, batch: 256}
predictors: {accuracy: {type: ridge, samples: 20}}
devices: [DEVICE]
objectives: [{metric: accuracy}, {metric: latency_ms, device: DEVICE}]
search: {population: 16, evaluations: 64}
evaluation: {calibration_images: 256}
verify: {top: 6}
"""

Nas = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def experiment(tmp_path_factory) -> Path:
    """The experiment's file, beside a device whose table covers its space."""
    folder = tmp_path_factory.mktemp("tiny")
    device = folder / "board"
    device.mkdir()
    (device / "device.yaml").write_text("id: board\nkind: cpu\nrunner: null\n")
    file = folder / "tiny.yaml"
    file.write_text(_EXPERIMENT.replace("DEVICE", str(device)))
    write_table(file, device)
    return file


def write_table(file: Path, device: Path) -> None:
    """Costs by MACs for every block of the experiment's space."""
    spec = load_device(device)
    units = {
        unit.key: Measurement(unit.key, 1.0 + count(unit.graph).macs / 1e3, 0.1, 100)
        for unit in worklist(BlockMap(load(file).space.create()), spec)
    }
    table = LatencyTable(spec.id, settings_of(spec))
    replace(table, units=units).save(device / "table.json")


@pytest.fixture(scope="session")
def nas(tmp_path_factory) -> Nas:
    """`nas` in a process of its own; `before` is Python that runs first, to make trouble."""
    where = tmp_path_factory.mktemp("runs")

    def call(*arguments: object, before: str = "") -> subprocess.CompletedProcess[str]:
        words = json.dumps([str(argument) for argument in arguments])
        # Without relaunch: the trouble would not survive it.
        code = f"import kernels.allocator as a\na.relaunch = lambda: None\n{before}\n"
        code += f"from nas.cli import main\nmain({words})"
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=where,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def finished(nas, experiment, tmp_path_factory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = nas("run", experiment, "--folder", folder)
    assert done.returncode == 0, done.stderr
    return folder
