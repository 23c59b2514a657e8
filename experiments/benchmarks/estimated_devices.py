"""How a compiler's estimates rank networks, and whether a table of its blocks is good enough.

    python -m experiments.benchmarks.estimated_devices --device orin --device v5e
    python -m experiments.benchmarks.estimated_devices --device h100 --measure jax_gpu

Whole networks of a space are compiled for each device and their estimates ranked against MACs and
parameters: were the order the same, nobody would need to compile. Then all blocks are compiled, as
the device's table has them, and their sums compared with the whole. What is compiled once is kept
in hwnas' cache, with the time that it took. No accelerator takes part, but with `--measure` on a
machine that has one: its times of the same networks stand beside the estimates.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from hw_profiles.compilers import compile_all
from hw_profiles.correction import Correction, features, fit
from hw_profiles.device import DeviceSpec, load_device
from hw_profiles.profile import measure_networks, spread_archs
from hw_profiles.profilers.compiler_estimate import estimate_us, models
from hw_profiles.profilers.registry import create
from hw_profiles.worklist import worklist
from predictors.metrics import kendall_tau, spearman
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.graph import Graph
from search_spaces.mobilenet_v3 import MobileNetV3

SPACE = MobileNetV3(
    resolution=(16, 28),
    channels=1,
    classes=10,
    stem=16,
    widths=(16, 24, 40),
    strides=(1, 2, 1),
    hswish=(False, True, True),
    squeeze_excite=(False, True, True),
    depth=(1, 2, 3),
    kernel=(3, 5, 7),
    expand=(2, 3, 4),
    head=(160, 192),
)


@dataclass(frozen=True)
class Estimates:
    """What a device's compiler says of some graphs.

    Args:
        values_us: the estimates.
        cpu_s: processor seconds that each took to compile.
        wall_s: seconds that passed, beside whatever else the machine did.
    """

    values_us: Float[np.ndarray, " n"]
    cpu_s: Float[np.ndarray, " n"]
    wall_s: Float[np.ndarray, " n"]


def estimates(device: DeviceSpec, graphs: Sequence[Graph], label: str) -> Estimates:
    """Compile graphs for a device, or read what was compiled before."""
    said: dict[int, Mapping[str, Any]] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{device.id}: {label}", total=len(graphs))

        def done(number: int, answer: Mapping[str, Any]) -> None:
            said[number] = answer
            progress.update(task, completed=len(said))

        compile_all(str(device.target), graphs, device.batch, device.dtype, done)
    answers = [said[number] for number in range(len(graphs))]
    return Estimates(
        np.array([estimate_us(answer, device) for answer in answers]),
        np.array([answer["cpu_s"] for answer in answers]),
        np.array([answer["compile_s"] for answer in answers]),
    )


def main() -> None:
    """Parse the arguments, compile, print."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.estimated_devices", description=__doc__
    )
    parser.add_argument("--device", action="append", help="orin, a100, h100, v5e, v5p, v6e, …")
    parser.add_argument("--networks", type=int, default=40, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of their choice")
    parser.add_argument("--measure", help="time the networks on this device too, e.g. jax_gpu")
    arguments = parser.parse_args()
    blocks = BlockMap(SPACE)
    none = np.zeros((0, len(SPACE.knobs)), int)
    archs = spread_archs(blocks, arguments.networks, arguments.seed, none)
    macs, params = blocks.total(blocks.macs, archs), blocks.total(blocks.params, archs)
    graphs = [SPACE.build(arch) for arch in archs]
    ranks = Table("device", "us", *_RANKS, title=f"{len(archs)} networks, estimated whole")
    sums = Table("device", *_SUMS, title=f"sums of {len(blocks.units)} blocks, against these")
    costs = Table("device", *_COSTS, title="what compiling takes")
    truth = Table("device", *_TRUTH, title=f"against the times of {arguments.measure}")
    measured_us = None
    if arguments.measure:
        found = measure_networks(load_device(arguments.measure), graphs)
        measured_us = np.array([network.value_us for network in found])
    for name in arguments.device or ["orin", "v5e"]:
        device = load_device(name)
        create(device)
        whole = estimates(device, graphs, "networks")
        units = worklist(blocks, device)
        plan = models(units, str(device.target))
        parts = estimates(device, list(plan.models.values()), "blocks")
        values = dict(zip(plan.models, parts.values_us, strict=True))
        us = whole.values_us
        ranks.add_row(
            name,
            f"{us.min():.0f} to {us.max():.0f}",
            *(f"{rank(us, by):.3f}" for by in (macs, params) for rank in (spearman, kendall_tau)),
        )
        if measured_us is not None:
            ratio = float(np.median(us / measured_us))
            truth.add_row(
                name,
                f"{measured_us.min():.0f} to {measured_us.max():.0f}",
                *(f"{rank(us, measured_us):.3f}" for rank in (spearman, kendall_tau)),
                f"{np.mean(np.abs(us / measured_us - 1)):.1%}",
                f"{ratio:.2f}",
                f"{np.mean(np.abs(us / ratio / measured_us - 1)):.1%}",
            )
        total_us = blocks.total(np.array([plan.cost(u.key, values) for u in units]), archs)
        fitted = correction(total_us, us, blocks, archs, macs)
        sums.add_row(
            name,
            f"{np.mean(total_us / us):.3f}",
            f"{np.mean(np.abs(total_us / us - 1)):.2%}",
            f"{fitted.error:.2%}",
            f"{spearman(total_us, us):.4f}",
        )
        costs.add_row(
            name,
            *(f"{np.median(t):.1f} ({t.max():.1f})" for t in (whole.cpu_s, parts.cpu_s)),
            f"{len(plan.models)}: {parts.cpu_s.sum():.0f}",
            f"{np.median(whole.wall_s):.1f}, {np.median(parts.wall_s):.1f}",
        )
    console = Console(width=120)
    for table in (ranks, sums, costs, *([truth] if arguments.measure else [])):
        console.print(table)
    if not arguments.measure:
        console.print("All of this comes from compilers; no hardware took part.")


def correction(
    total_us: Float[np.ndarray, " n"],
    whole_us: Float[np.ndarray, " n"],
    blocks: BlockMap,
    archs: Int[np.ndarray, "n k"],
    macs: Int[np.ndarray, " n"],
) -> Correction:
    """As a latency table fits it; its error is that of each network left out of the fit."""
    return fit(features(total_us, (blocks.index(archs) >= 0).sum(1), macs), whole_us)


_RANKS = (
    "Spearman, MACs",
    "Kendall, MACs",
    "Spearman, parameters",
    "Kendall, parameters",
)
_TRUTH = ("measured us", "Spearman", "Kendall", "MAPE", "median ratio", "MAPE without it")
_SUMS = ("sum / whole", "MAPE as it is", "MAPE corrected, left out", "Spearman")
_COSTS = (
    "network, CPU s: median (most)",
    "model of blocks, CPU s: median (most)",
    "all of these, CPU s",
    "wall s: network, model",
)


if __name__ == "__main__":
    main()
