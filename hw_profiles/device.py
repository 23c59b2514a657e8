"""Devices: what is measured, and how. A device is data: a folder with a `device.yaml`.

Looked up in three places, in this order: those that come with hwnas, the user's own in
`$HWNAS_CACHE/devices/<id>/`, and a folder given by its path.
"""

import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from io import SEEK_END, StringIO
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from search_spaces.errors import InputError
from search_spaces.files import write_text
from search_spaces.wording import worded

_BUILT_IN = Path(__file__).parent / "devices"
_FILE = "device.yaml"


Kind = Literal["cpu", "gpu", "tpu", "mcu", "npu"]
ID_PATTERN = r"^[a-z0-9][a-z0-9_-]*$"
_ELSEWHERE = """\
# A machine that hwnas does not run on; measured with
#   nas profile SPACE --device {id} --export-worklist FILE.zip
#   nas profile SPACE --device {id} --import-results results.jsonl
"""


class Peak(BaseModel):
    """Published figures of a device, for estimates where it can't be measured.

    Args:
        clock_ghz: of a TPU, to turn its compiler's cycles into time.
        matrix_tflops: of a GPU's tensor cores, without sparsity, by element type.
        vector_tflops: of its other cores in float32.
        bandwidth_gbs: of its memory.
        launch_us: what each launch takes beside its work; `source` says where from.
        source: where the figures are from, and what was assumed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    clock_ghz: float = Field(default=0.0, ge=0)
    matrix_tflops: dict[str, float] = {}
    vector_tflops: float = Field(default=0.0, ge=0)
    bandwidth_gbs: float = Field(default=0.0, ge=0)
    launch_us: float = Field(default=0.0, ge=0)
    source: str


class Mcu(BaseModel):
    """What the simulator has to know of a microcontroller; its `device.yaml` tells the sources.

    Args:
        core: a key of `mcu.core.CORES`.
        clock_mhz: that it is simulated at.
        cache_bytes: that keep what was read from flash; 0 where nothing does.
        line_bytes: that flash hands over at once.
        line_cycles: of the core that a line from flash takes where it is not kept.
        ram_line_cycles: the same of cached RAM; 0 where RAM never waits.
        ma_per_mhz: milliamperes that a running core takes for each MHz, from the datasheet; None
            where none is known.
        supply_v: at which that holds.
        source: where the figures are from, and what was assumed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    core: str
    clock_mhz: float = Field(gt=0)
    cache_bytes: int = Field(default=0, ge=0)
    line_bytes: int = Field(default=32, ge=1)
    line_cycles: float = Field(default=0.0, ge=0)
    ram_line_cycles: float = Field(default=0.0, ge=0)
    ma_per_mhz: float | None = Field(default=None, gt=0)
    supply_v: float = Field(default=3.3, gt=0)
    source: str


class Npu(BaseModel):
    """What Arm's compiler Vela has to know of an Ethos-U and the chip around it.

    Args:
        accelerator: its `--accelerator-config`, with the multiply-accumulates of a cycle.
        system: clock and memories, a `System_Config` of Vela's `Arm/vela.ini`.
        memory: which of them hold what, a `Memory_Mode` of that file.
        source: where the figures are from, and what was assumed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accelerator: str
    system: str
    memory: str
    source: str


class DeviceSpec(BaseModel):
    """A device as its `device.yaml` describes it.

    Args:
        id: its name in configurations, tables and column names (`latency_ms@cpu`).
        kind: what sort of processor it is.
        description: one line for `nas devices`.
        runner: what measures it, a key of `profilers.registry`; None where it is not measured here:
            its table came with it, or is brought in (`elsewhere`).
        unit: what is measured and summed up: a block is one builder scope, a kernel one fused op.
        threads: threads that the runtime may use.
        batch: examples per inference.
        dtype: element type of weights and activations; int8 is 8 bits of either sign.
        machine: facts about it, for people; `nas devices --detect` writes them.
        target: what a compiler is told to compile for, where the runner only estimates.
        peak: what such an estimate needs to know of the device.
        mcu: what a simulator needs to know of a microcontroller.
        npu: what a compiler needs to know of an NPU and its memories.
        sram_bytes: RAM for activations; None where it does not bound networks.
        flash_bytes: memory for weights and code; None where it does not bound them.
        folder: where the YAML lies; set by `load_device`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=ID_PATTERN)
    kind: Kind
    description: str = ""
    runner: str | None
    unit: Literal["block", "kernel"] = "block"
    threads: int = Field(default=1, ge=1)
    batch: int = Field(default=1, ge=1)
    dtype: Literal["float32", "bfloat16", "int8"] = "float32"
    target: str | None = None
    peak: Peak | None = None
    mcu: Mcu | None = None
    npu: Npu | None = None
    sram_bytes: int | None = Field(default=None, ge=1)
    flash_bytes: int | None = Field(default=None, ge=1)
    machine: dict[str, Any] = {}
    folder: Path = Field(default=Path(), exclude=True)


def cache_folder() -> Path:
    """Where the user's devices and tables are kept: `$HWNAS_CACHE`, else `~/.cache/hwnas`."""
    return Path(os.environ.get("HWNAS_CACHE") or "~/.cache/hwnas").expanduser()


def elsewhere_command(id: str, space: str = "SPACE") -> str:  # noqa: A002
    """What a user types to measure a device that hwnas does not run on."""
    return f"nas profile {space} --device {id} --export-worklist FILE.zip"


def list_devices() -> list[DeviceSpec]:
    """All devices that can be named by id, built-in ones first.

    Raises:
        InputError: a `device.yaml` of the user's is broken.
    """
    found: dict[str, DeviceSpec] = {}
    for root in (_BUILT_IN, cache_folder() / "devices"):
        for path in sorted(root.glob(f"*/{_FILE}")):
            device = _read(path)
            found.setdefault(device.id, device)
    return list(found.values())


def load_device(id_or_path: str | Path) -> DeviceSpec:
    """The device of that id, or the one described in that folder.

    Raises:
        InputError: no such device (with the nearest name and the list), or a broken `device.yaml`.
    """
    name = str(id_or_path)
    for folder in (_BUILT_IN / name, cache_folder() / "devices" / name, Path(name).expanduser()):
        if (folder / _FILE).is_file():
            return _read(folder / _FILE)
    known = [device.id for device in list_devices()]
    close = get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise InputError(
        f"unknown device {name!r}; {hint}devices: {', '.join(known)}; "
        f"a new one is a folder with a {_FILE}, given by its path or put into "
        f"{cache_folder() / 'devices'}; for a machine that is measured elsewhere: "
        "nas devices ID --new"
    )


def new_device(
    id: str,  # noqa: A002 (the key in the file)
    *,
    kind: Kind = "cpu",
    description: str = "measured elsewhere",
    runner: str | None = None,
    threads: int = 1,
    machine: Mapping[str, Any] | None = None,
) -> DeviceSpec:
    """Write the description of a device into the user's cache.

    Args:
        id: a new one.
        kind: what sort of processor it is.
        description: one line.
        runner: what measures it; None for a machine that is measured elsewhere.
        threads: that the runtime may use.
        machine: facts of the machine.

    Raises:
        InputError: there is such a device already, its id can't be one, or the place can't be
            written.
    """
    from ruamel.yaml import YAML

    if not re.fullmatch(ID_PATTERN, id):
        raise InputError(f"device {id!r}: ids are of small letters, digits, - and _")
    if any(device.id == id for device in list_devices()):
        raise InputError(f"device {id!r} exists already, in {load_device(id).folder}")
    device = DeviceSpec(
        id=id,
        kind=kind,
        description=description,
        runner=runner,
        threads=threads,
        machine=dict(machine or {}),
    )
    text = StringIO(_ELSEWHERE.format(id=id) if runner is None else "")
    text.seek(0, SEEK_END)
    left_out = None if machine else {"machine"}
    YAML().dump(device.model_dump(mode="json", exclude=left_out), text)
    path = cache_folder() / "devices" / id / _FILE
    write_text(path, text.getvalue())
    return _read(path)


def _read(path: Path) -> DeviceSpec:
    from ruamel.yaml import YAML, YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(path.read_text())
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: can't be read as YAML: {reason}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: must hold `key: value` lines, at least id, kind and runner")
    if "folder" in data:
        raise InputError(f"{path}: folder: unknown key 'folder'")
    try:
        return DeviceSpec.model_validate({**data, "folder": path.parent})
    except ValidationError as error:
        fields = [name for name in DeviceSpec.model_fields if name != "folder"]
        raise InputError([_line(path, item, fields) for item in error.errors()]) from None


def _line(path: Path, problem: Any, fields: Sequence[str]) -> str:
    location = problem["loc"]
    key = ".".join(str(part) for part in location)
    return f"{path}: {key}: {worded(problem, location[-1] if location else '', fields)}"
