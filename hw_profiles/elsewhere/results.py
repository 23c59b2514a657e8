"""What a worklist's script measured, brought back into the device's table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from hw_profiles.device import DeviceSpec, elsewhere_command
from hw_profiles.elsewhere.worklist import VERSION, check_elsewhere, table_so_far
from hw_profiles.job import Job
from hw_profiles.measure import FEWEST_VISITS, Policy, Samples, best_of, disturbed, summarise
from hw_profiles.profilers.base import Measured
from hw_profiles.provenance import Provenance, cpu_name
from hw_profiles.table import LatencyTable, checksum, identity, settings_of, table_path
from hw_profiles.worklist import worklist
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.space import Archs, SearchSpace


@dataclass(frozen=True)
class Imported:
    """What came back.

    Args:
        table: the device's table, as it was saved.
        units: blocks that the results gave a value to.
        wanted: blocks that were asked for.
        archs: whole networks that were measured.
        measured_ms: their latency.
        estimated_ms: what the table as it was before says of them; NaN where it lacked a block.
    """

    table: LatencyTable
    units: int
    wanted: int
    archs: Archs
    measured_ms: Float[np.ndarray, " n"]
    estimated_ms: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class _Results:
    """The file's content: the worklist, where each start of the script ran, and all visits."""

    work: Mapping[str, Any]
    machines: Sequence[Mapping[str, Any]]
    visits: Sequence[Mapping[str, Any]]
    complete: bool


def import_results(space: SearchSpace, device: DeviceSpec, path: Path) -> Imported:
    """Turn the script's times into costs of units, as the profiler does, and save them.

    Args:
        space: the space that the worklist was written for.
        device: its device.
        path: `results.jsonl`, whole or of a script that was interrupted, or the folder with it.

    Raises:
        InputError: the file can't be read, is of another space, device or setting, comes from two
            machines, or holds too little.
    """
    check_elsewhere(device)
    path = path / "results.jsonl" if path.is_dir() else path
    results = _read(path)
    _check(results, space, device, path)
    work = results.work
    units = {unit.key: unit for unit in worklist(BlockMap(space), device)}
    archs = np.array(work["networks"], int).reshape(-1, len(space.knobs))
    job = Job(
        [units[key] for key in work["units"] if key in units],
        [space.build(arch) for arch in archs],
        device.dtype,
    )
    if len(job.units) < len(work["units"]) or set(job.graphs) != set().union(*work["groups"]):
        raise InputError(
            f"{path}: hwnas {work['hwnas']} cut {space.name} into other blocks than this version; "
            f"write a new worklist: {elsewhere_command(device.id, space.name)}"
        )
    measured = _measured(job, results)
    if not measured.units and not measured.networks:
        raise InputError(f"{path}: no model was seen often enough; let measure.py run on")
    before = table_so_far(device)
    provenance = _provenance(results, measured.noisy)
    table = before.extended(measured, provenance, space, archs)
    table.save(table_path(device))
    archs = archs if measured.networks else archs[:0]
    values_us = [network.value_us for network in measured.networks]
    return Imported(
        table,
        len(measured.units),
        len(work["units"]),
        archs,
        np.array(values_us, float) / 1e3,
        before.bind(space).cost(archs).mean_ms,
    )


def _read(path: Path) -> _Results:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise InputError(f"{path}: can't be read: {(error.strerror or '').lower()}") from None
    except UnicodeDecodeError:
        lines = []
    items = [item for item in map(_parsed, lines) if item]
    starts = [item for item in items if "worklist" in item and "machine" in item]
    visits = [item for item in items if "model" in item]
    if not starts or not visits:
        raise InputError(
            f"{path}: holds no measurements: it must be the results.jsonl that measure.py of a "
            "worklist wrote"
        )
    if any(start["worklist"] != starts[0]["worklist"] for start in starts):
        raise InputError(f"{path}: holds results of two worklists; they belong in two files")
    machines = [start["machine"] for start in starts]
    return _Results(starts[0]["worklist"], machines, visits, "complete" in items[-1])


def _parsed(line: str) -> Mapping[str, Any] | None:
    """A line's content; None for one that an interruption tore: the visit is made again."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _check(results: _Results, space: SearchSpace, device: DeviceSpec, path: Path) -> None:
    work = dict(results.work)
    problems = []
    if work.pop("checksum", None) != checksum(work) or work["version"] != VERSION:
        raise InputError(
            f"{path}: its worklist was changed, or written by another version of hwnas; write a "
            f"new one: {elsewhere_command(device.id, space.name)}"
        )
    if work["device"] != device.id:
        problems.append(f"{path}: is of device {work['device']!r}, not of {device.id!r}")
    if work["settings"] != asdict(settings_of(device)):
        problems.append(
            f"{path}: was measured with {work['settings']}, device {device.id!r} now has "
            f"{asdict(settings_of(device))}"
        )
    if work["space"] != identity(space):
        problems.append(
            f"{path}: is of {work['space']}, not of {identity(space)}: give the space and the "
            "--set that the worklist was written with"
        )
    first = results.machines[0]
    problems += [
        f"{path}: {key} {first[key]!r} and {machine[key]!r}: results of one machine only; start "
        "measure.py in a new copy of the folder"
        for machine in results.machines[1:]
        for key in ("host", "runtime")
        if machine[key] != first[key]
    ]
    if problems:
        raise InputError(problems)


def _measured(job: Job, results: _Results) -> Measured:
    policy = Policy()
    by_model: dict[str, list[Mapping[str, Any]]] = {name: [] for name in job.graphs}
    for visit in results.visits:
        by_model[visit["model"]].append(visit)
    references = [us for visit in results.visits for us in visit["references_us"]]
    best_us = best_of(references)
    known = {
        name: summarise(_samples(visits), visits[-1]["inner"], best_us, policy)
        for name, visits in by_model.items()
        if len(visits) >= FEWEST_VISITS
    }
    noisy = disturbed(np.array(references), best_us, policy)
    return replace(job.measured(known, results.complete), noisy=noisy)


def _samples(visits: Sequence[Mapping[str, Any]]) -> Samples:
    return np.array(
        [
            (number, max(around), time_us)
            for number, visit in enumerate(visits)
            for around, time_us in zip(
                pairwise(visit["references_us"]), visit["times_us"], strict=True
            )
        ],
        float,
    )


def _provenance(results: _Results, noisy: bool) -> Provenance:
    first, last, work = results.machines[0], results.machines[-1], results.work
    governor = first.get("governor")
    return Provenance(
        host=first["host"],
        cpu=cpu_name(first.get("cpuinfo", ""), first["processor"]),
        cores=first["cores"],
        governor=governor.strip() if governor else None,
        threads=work["settings"]["threads"],
        runtime=first["runtime"],
        os=first["os"],
        python=first["python"],
        hwnas=work["hwnas"],
        commit=work["commit"],
        date=datetime.fromtimestamp(first["started_s"], UTC).isoformat(timespec="seconds"),
        load_start=round(first["load"], 2),
        load_end=round(last["load"], 2),
        noisy=noisy,
    ).judged()
