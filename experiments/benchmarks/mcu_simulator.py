"""Simulated against published latency and RAM of networks on microcontrollers.

    python -m experiments.benchmarks.mcu_simulator --data DIR [--published] [--json]

Reads `DIR/stm32_modelzoo/layers.parquet` (layers of published networks), `latency.csv` (their
milliseconds by board, `tflite` names the network) and `memory.csv` (KiB of activations). Networks
are rebuilt with our kernels and random weights; what a board's name holds of a device's id
(`H747`) and the row's clock say what is simulated. Only int8 networks with a layer table and boards
with a device take part.

The published figures are of another library, whose kernels are faster or slower than ours, so one
factor for each board (its core and that library) turns simulated into published time: the median of
published over simulated. It is fitted leaving one family of networks out, and that family's
networks are predicted with it. The MACs-only rule is fitted and tested alike: milliseconds a MAC.
`unfitted` is the simulated time of our own kernels as it is.

`--published` adds networks whose tables tell no layers (`mcu_published.py`): MCUNet's with four
libraries on an STM32H743, and MLPerf Tiny's four on several boards. There a factor is fitted for
each library (of MLPerf: each system handed in), leaving out networks that differ by a number only.
Where the same library was run on two boards, `B from A` predicts its times on B by those on A, with
nothing fitted (`between_boards`): how the simulated cores relate, whatever the library.

RAM, over the published activations: `ours` is our planner's arena, whole, with scratch memory.
`vendor's rules` is what `cube_ai.py` says that ST's tool needs for the same network: no constant
of it is fitted, but which kernels may write over their input is chosen, of six ways, as the one
with the least mean absolute logarithm of the ratio over the other families than the one that is
predicted.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.cube_ai import activation_bytes
from experiments.benchmarks.layer_tables import Row, arena_bytes, layers_of
from experiments.benchmarks.mcu_published import Published, between_boards, read
from hw_profiles.device import DeviceSpec, list_devices
from hw_profiles.mcu.simulate import Simulator
from predictors.metrics import spearman

_WITHIN = 0.15


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--published", action="store_true", help="MCUNet and MLPerf Tiny too")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    folder = args.data / "stm32_modelzoo"
    networks = _networks(folder / "layers.parquet")
    found = _latencies(folder / "latency.csv", networks)
    if args.published:
        found += read(args.data)
    rows = _latency_rows(found) + _board_rows(found) + _ram_rows(folder / "memory.csv", networks)
    if args.json:
        devices = sorted({one.board for one in found})
        print(
            json.dumps(
                {"benchmark": "mcu_simulator", "rows": rows, "environment": {"boards": devices}}
            )
        )
        return
    _show(found, rows)


def _networks(path: Path) -> dict[str, list[Row]]:
    import pandas as pd

    table = pd.read_parquet(path).sort_values(["tflite", "layer"])
    found: dict[str, list[Row]] = {}
    for row in table.to_dict("records"):
        found.setdefault(str(row["tflite"]), []).append({str(k): v for k, v in row.items()})
    return found


def _latencies(path: Path, networks: dict[str, list[Row]]) -> list[Published]:
    import pandas as pd

    table = pd.read_csv(path)
    devices = [one for one in list_devices() if one.mcu is not None]
    simulators: dict[tuple[str, float], Simulator] = {}
    found = []
    for row in table.to_dict("records"):
        device = _device_of(str(row["board"]), devices)
        if device is None or row["tflite"] not in networks or row["fmt"] != "int8":
            continue
        assert device.mcu is not None
        mcu = device.mcu.model_copy(update={"clock_mhz": float(row["freq_mhz"])})
        simulator = simulators.setdefault((device.id, mcu.clock_mhz), Simulator(mcu))
        layers = layers_of(networks[row["tflite"]])
        found.append(
            Published(
                str(row["board"]),
                str(row["family"]),
                str(row["tflite"]),
                float(row["latency_ms"]),
                simulator.time_us(layers) / 1e3,
                sum(layer.macs for layer in layers) / 1e6,
            )
        )
    return found


def _device_of(board: str, devices: Sequence[DeviceSpec]) -> DeviceSpec | None:
    name = board.lower()
    return next((one for one in devices if one.id.removeprefix("stm32") in name), None)


def predicted(
    published: Float[np.ndarray, " n"], known: Float[np.ndarray, " n"], families: Sequence[str]
) -> Float[np.ndarray, " n"]:
    """`known` times the median ratio of the other families; NaN where there is no other."""
    groups = np.array(families)
    ratio = published / known
    out = np.full(len(known), np.nan)
    for family in set(families):
        others = groups != family
        if others.any():
            out[~others] = known[~others] * np.median(ratio[others])
    return out


def _by_library(
    published: Float[np.ndarray, " n"], known: Float[np.ndarray, " n"], here: Sequence[Published]
) -> Float[np.ndarray, " n"]:
    """`predicted`, with the factors of each library for itself."""
    libraries = np.array([one.library for one in here])
    families = np.array([one.family for one in here])
    out = np.full(len(known), np.nan)
    for library in set(libraries):
        own = libraries == library
        out[own] = predicted(published[own], known[own], list(families[own]))
    return out


def _latency_rows(found: Sequence[Published]) -> list[dict[str, Any]]:
    rows = []
    for board in sorted({one.board for one in found}):
        here = [one for one in found if one.board == board]
        truth = np.array([one.published_ms for one in here])
        simulated = np.array([one.simulated_ms for one in here])
        macs = np.array([one.macs for one in here])
        methods = {
            "ours": _by_library(truth, simulated, here),
            "macs": _by_library(truth, macs, here),
            "unfitted": simulated,
        }
        for method, values in methods.items():
            known = np.isfinite(values)
            if not known.any():
                continue
            off = np.abs(values[known] / truth[known] - 1)
            scores = {"mape": 100 * off.mean(), "within_10pct": 100 * (off <= 0.1).mean()}
            if known.sum() > 2:
                scores["spearman"] = spearman(truth[known], values[known])
            rows += [_row(board, method, name, s, int(known.sum())) for name, s in scores.items()]
        ratio = np.array([one.arena_kib / one.ram_kib for one in here])
        if np.isfinite(ratio).any():
            rows.append(_row(board, "ours", "ram_ratio_median", np.nanmedian(ratio), len(ratio)))
    return rows


def _board_rows(found: Sequence[Published]) -> list[dict[str, Any]]:
    rows = []
    for task, methods in sorted(between_boards(found).items()):
        for method, pairs in methods.items():
            values, truth = np.array(pairs).T
            off = np.abs(values / truth - 1)
            scores = {"mape": 100 * off.mean(), "within_10pct": 100 * (off <= 0.1).mean()}
            rows += [_row(task, method, name, s, len(pairs)) for name, s in scores.items()]
    return rows


def chosen(
    known: Float[np.ndarray, "ways n"], published: Float[np.ndarray, " n"], families: Sequence[str]
) -> Float[np.ndarray, " n"]:
    """For each network, what the way says that fits the other families best; NaN without others."""
    off = np.abs(np.log(known / published))
    groups = np.array(families)
    out = np.full(len(published), np.nan)
    for family in set(families):
        others = groups != family
        if others.any():
            out[~others] = known[np.argmin(off[:, others].mean(1)), ~others]
    return out


def _ram_rows(path: Path, networks: dict[str, list[Row]]) -> list[dict[str, Any]]:
    import pandas as pd

    table = pd.read_csv(path)
    table = table[table["tflite"].isin(list(networks)) & (table["fmt"] == "int8")]
    layers = [networks[name] for name in table["tflite"]]
    vendor = np.asarray(table["act_ram_kib"], float)
    ways = np.array([activation_bytes(rows) for rows in layers]).T / 1024
    methods = {
        "ours": np.array([arena_bytes(rows, simd=True) for rows in layers]) / 1024,
        "vendor's rules": chosen(ways, vendor, list(table["family"])),
        "live tensors": np.asarray(table["peak_act_bytes"], float) / 1024,
    }
    rows = []
    for method, ram in methods.items():
        ratio = (ram / vendor)[np.isfinite(ram)]
        scores = {
            "ram_ratio_median": np.median(ratio),
            "within_15pct": 100 * (np.abs(ratio - 1) <= _WITHIN).mean(),
            "at_most_15pct_more": 100 * (ratio <= 1 + _WITHIN).mean(),
        }
        rows += [_row("ram", method, name, s, len(ratio)) for name, s in scores.items()]
    return rows


def _row(task: str, method: str, metric: str, value: float, n: int) -> dict[str, Any]:
    return {
        "task": task,
        "method": method,
        "baseline": method != "ours",
        "n": n,
        "metric": metric,
        "mean": float(value),
        "std": 0.0,
        "seeds": 1,
    }


def _show(found: Sequence[Published], rows: Sequence[dict[str, Any]]) -> None:
    console = Console(width=130)
    table = Table("board", "library", "network", "published ms", "simulated ms", "ratio")
    for one in found:
        values = (one.published_ms, one.simulated_ms, one.published_ms / one.simulated_ms)
        name = Path(one.network).stem if "/" in one.network else one.network
        table.add_row(one.board, one.library, name, *(f"{value:.2f}" for value in values))
    console.print(table)
    summary = Table("task", "method", "metric", "value", "n")
    for row in rows:
        value = f"{row['mean']:.3f}" if row["metric"] == "spearman" else f"{row['mean']:.2f}"
        summary.add_row(row["task"], row["method"], row["metric"], value, str(row["n"]))
    console.print(summary)


if __name__ == "__main__":
    main()
