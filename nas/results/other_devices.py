"""What the networks of a run cost on devices that the run was not made for, by their tables."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from search_spaces.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame

    from hw_profiles.device import DeviceSpec
    from nas.results.run import Results

_METRICS = ("latency_ms", "energy_mj", "peak_sram_kib", "flash_kib")


def with_other_devices(results: "Results", table: "DataFrame", names: Iterable[str]) -> "DataFrame":
    """The table with the columns among these names that it lacks and that a device can tell.

    Args:
        results: the run.
        table: trials of it.
        names: columns, such as `latency_ms@pi5`.

    Raises:
        InputError: a device's table does not cover the run's space; it says what fills it.
    """
    asked = [name for name in names if name not in table and name.startswith(_METRICS)]
    devices = {
        device: spec
        for device in dict.fromkeys(name.partition("@")[2] for name in asked)
        if (spec := _device(device)) is not None
    }
    if not devices or not results.space.has_networks:
        return table
    from hw_profiles.table import open_table
    from nas.costs import Costs
    from search_spaces.ir.blocks import BlockMap

    tables = {name: open_table(spec) for name, spec in devices.items()}
    costs = Costs.of(BlockMap(results.space), devices, tables)
    costs.check_covered(devices, str(results.folder))
    archs = np.array(table["arch"].tolist())
    values, sources = costs.evaluate(archs), costs.sources()
    found = [name for name in asked if name in values]
    return table.assign(
        **{name: values[name] for name in found},
        **{f"{name}.source": sources[name] for name in found},
    )


def _device(name: str) -> "DeviceSpec | None":
    """None where there is no such device: then the column is what is wrong."""
    from hw_profiles.device import load_device

    try:
        return load_device(name) if name else None
    except InputError:
        return None
