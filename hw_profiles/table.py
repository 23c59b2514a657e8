"""A device's table of measurements: one JSON file with its provenance and a checksum."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from hw_profiles.device import DeviceSpec, cache_folder, elsewhere_command
from hw_profiles.moods import shift
from hw_profiles.profilers.base import Measured, Measurement, Profiler, Source
from hw_profiles.provenance import Provenance, cpu_model
from hw_profiles.transferred import TransferredCosts
from search_spaces.errors import InputError
from search_spaces.files import write_json
from search_spaces.space import Archs, SearchSpace

if TYPE_CHECKING:
    from hw_profiles.block_memory import BlockMemory
    from hw_profiles.estimate import BoundTable
    from search_spaces.ir.blocks import BlockMap

VERSION = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What all measurements of a table have in common."""

    runner: str | None
    unit: str
    threads: int
    batch: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Network:
    """A whole network of a space, measured.

    Args:
        space: `identity` of the space.
        arch: the architecture, canonical.
        measurement: its key is the graph's digest.
    """

    space: str
    arch: tuple[int, ...]
    measurement: Measurement


@dataclass(frozen=True)
class LatencyTable:
    """Measurements of one device under one setting.

    Args:
        device: the device's id.
        settings: threads, batch, element type.
        sessions: provenance of each session, by the index that measurements carry.
        units: measured units by key.
        networks: whole networks, from which the correction of sums is fitted.
        transfers: of spaces whose blocks were not measured, what they are estimated to cost.
        shifts: of each session that timed networks of the table again, how much longer they took
            (`hw_profiles.moods`).
        warnings: what a user should know about this table; not stored.
    """

    device: str
    settings: Settings
    sessions: tuple[Provenance, ...] = ()
    units: Mapping[str, Measurement] = field(default_factory=dict)
    networks: tuple[Network, ...] = ()
    transfers: tuple[TransferredCosts, ...] = ()
    shifts: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write the file as a whole, atomically.

        Raises:
            InputError: the disk is full or the place can't be written; the old file stays.
        """
        content = self._content()
        write_json(path, {"version": VERSION, "checksum": checksum(content), **content})

    def digest(self) -> str:
        """Hash of the content, for the metadata of what is derived from it."""
        return checksum(self._content())

    def bind(
        self,
        space: SearchSpace,
        blocks: "BlockMap | None" = None,
        allow_interpolation: bool = False,
    ) -> "BoundTable":
        """The table made ready for the architectures of a space.

        Args:
            space: the space.
            blocks: its block map, if the caller has it already.
            allow_interpolation: estimate blocks that the table lacks from those that it holds,
                where that is defensible (`hw_profiles.interpolate`).
        """
        from hw_profiles.estimate import bind

        return bind(self, space, blocks, allow_interpolation)

    def bind_energy(
        self, space: SearchSpace, blocks: "BlockMap | None" = None
    ) -> "BoundTable | None":
        """The same for energy: wherever a bound table says us and ms, these are uJ and mJ.

        Sums, the correction by whole networks and its interval are those of latency, on energies.

        Args:
            space: the space.
            blocks: its block map, if the caller has it already.

        Returns:
            None where the energy of a unit of the space is not known.
        """
        units = {key: _in_energy(unit) for key, unit in self.units.items()}
        networks = [replace(n, measurement=_in_energy(n.measurement)) for n in self.networks]
        table = replace(
            self,
            units={key: unit for key, unit in units.items() if unit.energy_mj is not None},
            networks=tuple(n for n in networks if n.measurement.energy_mj is not None),
            transfers=(),
            shifts=(),
        )
        bound = table.bind(space, blocks)
        return None if bound.missing else bound

    def bind_memory(self, blocks: "BlockMap") -> "BlockMemory | None":
        """RAM and flash of a space's architectures, by what the compiler said of the blocks.

        Args:
            blocks: of the space.

        Returns:
            None where the memory of a unit of the space is not known.

        Raises:
            InputError: the blocks do not form a chain.
        """
        from hw_profiles.block_memory import BlockMemory
        from hw_profiles.worklist import unit_keys

        units = [self.units.get(key) for key in unit_keys(blocks)]
        kib = [(unit.sram_kib, unit.flash_kib) for unit in units if unit is not None]
        known = np.array([pair for pair in kib if None not in pair], float).reshape(-1, 2)
        return BlockMemory(blocks, lambda: known) if len(known) == len(units) else None

    @property
    def source(self) -> Source:
        """How the values were got; anything but measured where one of them was not measured."""
        for unit in self.units.values():
            if unit.source != "measured":
                return unit.source
        return "measured"

    def networks_of(self, space: SearchSpace) -> tuple[Network, ...]:
        """The whole networks that were measured of this space."""
        name = identity(space)
        return tuple(network for network in self.networks if network.space == name)

    def transferred(self, space: SearchSpace) -> TransferredCosts | None:
        """What other devices say of this space's blocks; None where nobody asked them."""
        name = identity(space) if self.transfers else ""
        return next((item for item in self.transfers if item.space == name), None)

    def unsettled(self) -> set[str]:
        """Keys of units whose measuring was cut short."""
        return {key for key, unit in self.units.items() if not unit.settled}

    def extended(
        self, measured: Measured, provenance: Provenance, space: SearchSpace, archs: Archs
    ) -> "LatencyTable":
        """The table with a session's results in it.

        Args:
            measured: the results; networks in the order of `archs`, or none.
            provenance: of the session.
            space: the space of the networks.
            archs: the networks' architectures.
        """
        session = len(self.sessions)
        units = {key: replace(unit, session=session) for key, unit in measured.units.items()}
        rows = archs if measured.networks else archs[:0]
        networks = tuple(
            Network(identity(space), tuple(map(int, arch)), replace(result, session=session))
            for arch, result in zip(rows, measured.networks, strict=True)
        )
        new = {(n.space, n.arch): n.measurement.value_us for n in networks}
        kept = tuple(n for n in self.networks if (n.space, n.arch) not in new)
        again = [n for n in self.networks if (n.space, n.arch) in new]
        then_us = np.array([n.measurement.value_us for n in again])
        now_us = np.array([new[n.space, n.arch] for n in again])
        table = replace(
            self,
            sessions=(*self.sessions, provenance),
            units={**self.units, **units},
            networks=(*kept, *networks),
        )
        return table.shifted(shift(then_us, now_us))

    def shifted(self, by: float | None) -> "LatencyTable":
        """The table with what a later session tells of the machine; None for nothing."""
        return self if by is None else replace(self, shifts=(*self.shifts, by))

    def _content(self) -> dict[str, Any]:
        content = asdict(self)
        del content["warnings"]
        return json.loads(json.dumps(content))


def load(path: Path) -> LatencyTable:
    """Read a table.

    Raises:
        InputError: the file is missing, is no table, was changed or cut, or has another version.
    """
    try:
        data = json.loads(Path(path).read_bytes())
        stored, number = data.pop("checksum"), data.pop("version")
    except FileNotFoundError:
        raise InputError(f"{path}: no such latency table") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
    except (ValueError, KeyError, AttributeError, TypeError):
        raise _corrupt(path, "it is no latency table") from None
    if number != VERSION:
        raise _corrupt(path, f"it has version {number!r}, this release reads {VERSION}")
    if stored != checksum(data):
        raise _corrupt(path, "its checksum does not match its content")
    try:
        return TypeAdapter(LatencyTable).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _corrupt(path, f"{where}: {first['msg']}") from None


def settings_of(device: DeviceSpec) -> Settings:
    """The settings under which a device is measured."""
    return Settings(device.runner, device.unit, device.threads, device.batch, device.dtype)


def table_path(device: DeviceSpec) -> Path:
    """Where a device's table is kept: one file for each runtime, processor and setting.

    A device that is never measured here has the table that lies beside its `device.yaml`.
    """
    if device.runner is None:
        return device.folder / "table.json"
    from hw_profiles.profilers import registry

    setting = f"t{device.threads} b{device.batch} {device.dtype}"
    name = f"table {registry.create(device).runtime} {cpu_model()} {setting}"
    slug = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
    return cache_folder() / "devices" / device.id / f"{slug}.json"


def open_table(
    device: DeviceSpec, path: Path | None = None, profiler: Profiler | None = None
) -> LatencyTable:
    """The table of a device as far as it is valid on this machine; empty where there is none.

    Args:
        device: the device.
        path: the file; `table_path(device)` if not given.
        profiler: what measures here; the device's runner if not given.

    Returns:
        The table. Measurements of another processor, runtime or number of threads are left out,
        with a line in `warnings` that names both.

    Raises:
        InputError: the file is corrupt or of another device, or the device has no runner and no
            table.
    """
    path = path or table_path(device)
    empty = LatencyTable(device.id, settings_of(device))
    if not path.exists():
        if device.runner is None:
            raise InputError(
                f"device {device.id!r} is not measured here and has no table ({path}); to measure "
                f"it elsewhere: {elsewhere_command(device.id)}"
            )
        return empty
    table = load(path)
    if table.device != device.id:
        raise InputError(f"{path}: is the table of device {table.device!r}, not of {device.id!r}")
    if device.runner is None:
        return table
    if table.settings != empty.settings:
        warning = f"{path}: was measured with {table.settings}, the device has {empty.settings}"
        return replace(empty, warnings=(f"{warning}: its measurements are not used",))
    from hw_profiles.profilers import registry

    runtime = (profiler or registry.create(device)).runtime
    return _valid_here(table, device, path, runtime)


def unquiet(table: LatencyTable) -> list[str]:
    """What speaks against a table: of the machine while it was last added to, and of transfers."""
    if not table.sessions:
        return []
    last = table.sessions[-1]
    noise = [f"{table.device}, measured {last.date}: {warning}" for warning in last.warnings]
    doubts = [
        f"{table.device}: not to be trusted for {item.space.partition(':')[0]}: {doubt}"
        for item in table.transfers
        for doubt in item.doubts
    ]
    return noise + doubts


def identity(space: SearchSpace) -> str:
    """Name of a space with a digest of all its parameters that show in a network."""
    knobs = [(knob.name, *map(str, knob.options)) for knob in space.knobs]
    text = json.dumps([space.version, knobs, space.build(None).digest()])
    return f"{space.name}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _in_energy(measurement: Measurement) -> Measurement:
    """With microjoules where the microseconds were."""
    value_uj = 1e3 * (measurement.energy_mj or 0.0)
    spread_uj = 1e3 * (measurement.energy_spread_mj or 0.0)
    return replace(measurement, value_us=value_uj, spread_us=spread_uj)


def _valid_here(table: LatencyTable, device: DeviceSpec, path: Path, runtime: str) -> LatencyTable:
    here = {"CPU": cpu_model(), "runtime": runtime, "threads": device.threads}
    valid = {i for i, session in enumerate(table.sessions) if session.identity() == here}
    if len(valid) == len(table.sessions):
        return table
    foreign = next(s.identity() for i, s in enumerate(table.sessions) if i not in valid)
    parts = [f"{k} {v!r} there, {here[k]!r} here" for k, v in foreign.items() if v != here[k]]
    units = {key: unit for key, unit in table.units.items() if unit.session in valid}
    networks = tuple(n for n in table.networks if n.measurement.session in valid)
    left_out = len(table.units) - len(units)
    warning = f"{path}: {left_out} units are not used, they come from: {'; '.join(parts)}"
    transfers = tuple(item for item in table.transfers if item.session in valid)
    return replace(
        table,
        units=units,
        networks=networks,
        transfers=transfers,
        shifts=(),
        warnings=(warning,),
    )


def checksum(content: Mapping[str, Any]) -> str:
    """Hash of JSON content, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _corrupt(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: corrupt latency table: {reason}; it was left as it is: move it away, then "
        "`nas profile SPACE --device ID` measures again"
    )
