"""A worklist to take to another machine: models, what they are for, and a script that times them.

hwnas-ID/worklist.json    space, device, settings, units, networks, groups of models
hwnas-ID/measure.py       the script; it writes results.jsonl
hwnas-ID/models/          an ONNX file a model, the reference, the weights that they share
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hw_profiles.device import DeviceSpec
from hw_profiles.elsewhere.weights import SharedWeights
from hw_profiles.job import Job
from hw_profiles.profile import lacking
from hw_profiles.profilers.interleaved import grouped, reference
from hw_profiles.profilers.onnxruntime_cpu import model
from hw_profiles.provenance import hwnas_commit, hwnas_version
from hw_profiles.table import LatencyTable, checksum, identity, load, settings_of, table_path
from search_spaces.errors import InputError
from search_spaces.files import whole_file
from search_spaces.ir.graph import Graph
from search_spaces.ir.to_onnx import to_bytes
from search_spaces.space import Archs, SearchSpace

VERSION = 1
# What the sessions that the script loads together may take: small boards have little memory.
_GROUP_BYTES = 256 << 20
_SCRIPT = Path(__file__).with_name("measure.py")


@dataclass(frozen=True, slots=True)
class Exported:
    """What a worklist holds.

    Args:
        path: the zip file.
        folder: the name of the folder inside.
        units: blocks that it measures.
        networks: whole networks that it measures.
        models: ONNX files behind them.
        size_bytes: of the zip file.
    """

    path: Path
    folder: str
    units: int
    networks: int
    models: int
    size_bytes: int


def export_worklist(
    space: SearchSpace,
    device: DeviceSpec,
    path: Path,
    *,
    archs: Archs | None = None,
    networks: int = 30,
    seed: int = 0,
    only_missing: bool = True,
    blocks: bool = True,
) -> Exported:
    """Write a zip file with everything that another machine needs to measure a space.

    Args:
        space: the space.
        device: described by the user, without a runner.
        path: a new file.
        archs: whole networks to measure; chosen all over the space if not given.
        networks: how many whole networks of the space the table shall hold.
        seed: of their choice, and of the weights.
        only_missing: leave out what the table holds already.
        blocks: measure blocks too, not only whole networks.

    Raises:
        InputError: the device is measured here, nothing is missing, or the file exists or can't be
            written.
    """
    check_elsewhere(device)
    if path.exists():
        raise InputError(f"{path}: exists already; give another name, or remove it")
    table = table_so_far(device)
    units, chosen = lacking(space, device, table, networks, seed, only_missing)
    units, archs = units if blocks else (), chosen if archs is None else archs
    if not units and not len(archs):
        raise InputError(
            f"device {device.id!r} has measurements of all blocks of {space.name}; "
            "add --again to measure them anew"
        )
    job = Job(units, [space.build(arch) for arch in archs], device.dtype)
    content = {
        "version": VERSION,
        "hwnas": hwnas_version(),
        "commit": hwnas_commit(),
        "space": identity(space),
        "device": device.id,
        "settings": asdict(settings_of(device)),
        "units": [unit.key for unit in units],
        "networks": archs.tolist(),
        "groups": grouped(job.graphs, _GROUP_BYTES),
    }
    manifest = {"checksum": checksum(content), **content}
    folder = f"hwnas-{device.id}"
    with whole_file(path) as file:
        _write(file, folder, manifest, job.graphs, np.random.default_rng(seed))
    size = path.stat().st_size
    return Exported(path, folder, len(units), len(archs), len(job.graphs), size)


def check_elsewhere(device: DeviceSpec) -> None:
    """Refuse a device that hwnas runs on.

    Raises:
        InputError: with the commands to give instead.
    """
    if device.runner is not None:
        raise InputError(
            f"device {device.id!r} is the machine that hwnas runs on: nas profile measures it "
            "directly; another machine is a device of its own: nas devices ID --new"
        )


def table_so_far(device: DeviceSpec) -> LatencyTable:
    """The table of a device without a runner; empty where nothing was brought in yet.

    Raises:
        InputError: its file is corrupt, or was measured under other settings.
    """
    path, settings = table_path(device), settings_of(device)
    if not path.exists():
        return LatencyTable(device.id, settings)
    table = load(path)
    if table.settings != settings:
        raise InputError(
            f"{path}: was measured with {table.settings}, {device.folder / 'device.yaml'} has "
            f"{settings}: give the device with other settings an id of its own"
        )
    return table


def _write(
    file: BinaryIO,
    folder: str,
    manifest: Mapping[str, Any],
    graphs: Mapping[str, Graph],
    rng: np.random.Generator,
) -> None:
    """The zip file, a model at a time: all of them together may not fit memory."""
    weights = SharedWeights()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"{folder}/worklist.json", json.dumps(manifest, indent=1))
        archive.writestr(f"{folder}/measure.py", _SCRIPT.read_text())
        for name, graph in {"reference": reference(), **graphs}.items():
            proto = model(graph, rng)
            weights.share(proto)
            archive.writestr(f"{folder}/models/{name}.onnx", to_bytes(proto))
        for name, content in weights.files(rng):
            # Random numbers don't get smaller.
            archive.writestr(f"{folder}/models/{name}", content, zipfile.ZIP_STORED)
