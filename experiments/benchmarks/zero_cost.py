"""What zero-cost proxies say of published accuracies, and what they add to a predictor.

    python -m experiments.benchmarks.zero_cost --data DIR --images DIR/cifar10 --keep proxies.jsonl

`--networks` architectures of a table are drawn at random, no network twice. Each is built and run
untrained on one batch of training images (`predictors.zero_cost`), with `--cells` cells a stage and
images of `--resolution` pixels. Printed are Kendall's tau of each proxy with the accuracies, beside
that of MACs. Then predictors learn from `n` of these architectures and are judged on the others:
without proxies, with each alone (`--each`), with all of them; the gain in tau is paired over seeds,
with the seeds' standard deviation. `--keep` holds the proxies of networks that were run.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.accuracy_prediction import selected
from experiments.benchmarks.accuracy_tables import Labelled, load_tables
from nas.journal import Journal
from predictors import metrics, registry
from predictors.cross_validation import unseen
from predictors.labels import group
from predictors.zero_cost import NAMES, ZeroCost, scaled
from search_spaces import registry as search_spaces
from search_spaces.errors import InputError
from search_spaces.space import Archs, SearchSpace


@dataclass(frozen=True)
class Proxies:
    """Proxies of some architectures as a predictor sees them, centred and scaled by all of them.

    Args:
        space: of the architectures.
        names: of the columns.
        archs: the architectures.
        values: a row each.
    """

    space: SearchSpace
    names: tuple[str, ...]
    archs: Archs
    values: Float64[np.ndarray, "n p"]

    def only(self, names: Sequence[str]) -> "Proxies":
        """Some of the columns."""
        columns = [self.names.index(name) for name in names]
        return Proxies(self.space, tuple(names), self.archs, self.values[:, columns])

    def __call__(self, archs: Archs) -> Float64[np.ndarray, "m p"]:
        """Rows of architectures, each one of those known."""
        rows = dict(zip(map(bytes, self.archs), scaled(self.values, self.values), strict=True))
        return np.array([rows[bytes(a)] for a in self.space.canonical(archs).astype(np.int64)])


def drawn(table: Labelled, count: int, seed: int = 0) -> Int[np.ndarray, " n"]:
    """Rows of different networks, at random."""
    networks = group(table.space.onehot(table.archs))
    order = np.random.default_rng(seed).permutation(len(table.archs))
    first = np.unique(networks[order], return_index=True)[1]
    return order[np.sort(first)][:count]


def computed(
    zero_cost: ZeroCost, archs: Archs, settings: Mapping[str, int], kept: Path | None
) -> Float64[np.ndarray, "n p"]:
    """Proxies of architectures, those of the file not again.

    Raises:
        InputError: the file is damaged or can't be written.
    """
    journal = Journal(kept) if kept else None
    records = journal.records if journal else []
    known = {tuple(r["arch"]): r["proxies"] for r in records if r["settings"] == settings}
    rows, began = [], time.process_time()
    for number, arch in enumerate(archs):
        found = known.get(tuple(arch.tolist()))
        if found is None or any(name not in found for name in zero_cost.names):
            values = zero_cost.raw(arch[None])[0].tolist()
            found = dict(zip(zero_cost.names, values, strict=True))
            if journal:
                journal.append({"arch": arch, "settings": dict(settings), "proxies": found})
            cpu_s = time.process_time() - began
            print(f"network {number + 1}/{len(archs)}, CPU {cpu_s:.0f} s", file=sys.stderr)
        rows.append([found[name] for name in zero_cost.names])
    if journal:
        journal.close()
    return np.array(rows, np.float64)


def gains(
    table: Labelled,
    y: Float64[np.ndarray, " n"],
    proxies: Sequence[Proxies],
    kinds: Sequence[str],
    sizes: Sequence[int],
    seeds: int,
) -> list[dict[str, Any]]:
    """Kendall's tau without proxies and with each choice of them, a row a type, n and choice."""
    rows = []
    for kind in kinds:
        for n in (n for n in sizes if n < len(y)):
            found: dict[str, list[float]] = {}
            for seed in range(seeds):
                order = np.random.default_rng(seed).permutation(len(y))
                train, test = order[:n], order[n:]
                for extra in (None, *proxies):
                    name = "without" if extra is None else "+".join(extra.names)
                    given = {} if extra is None else {"extra": extra}
                    predictor = registry.create(kind, table.space, seed, **given)
                    mean, _ = unseen(predictor, table.archs, y, train, test)
                    found.setdefault(name, []).append(metrics.kendall_tau(y[test], mean))
            plain = np.array(found["without"])
            for name, values in found.items():
                tau, gain = np.array(values), np.array(values) - plain
                row = {"type": kind, "n": n, "proxies": name, "tau": float(tau.mean())}
                rows.append({**row, "gain": float(gain.mean()), "std": float(gain.std())})
    return rows


def main() -> None:
    """Parse the arguments, run the networks, fit, print."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.zero_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables' folders")
    parser.add_argument("--images", type=Path, required=True, help="folder of CIFAR-10 as parquet")
    parser.add_argument("--tasks", default="cifar10_test_ep200", help="(default: %(default)s)")
    parser.add_argument("--networks", type=int, default=300, help="(default: %(default)s)")
    parser.add_argument("--proxies", default=",".join(NAMES), help="(default: all)")
    parser.add_argument("--cells", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--resolution", type=int, default=16, help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="images (default: %(default)s)")
    parser.add_argument("--types", default="auto", help="predictors (default: %(default)s)")
    parser.add_argument("--n", default="32,78,156", help="labels (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--each", action="store_true", help="add each proxy alone, too")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="proxies of networks that ran")
    arguments = parser.parse_args()
    try:
        _run(arguments)
    except (InputError, ValueError) as error:
        parser.error(str(error))


def _run(arguments: argparse.Namespace) -> None:
    tables = load_tables(arguments.data)
    pairs = selected(tables, "nasbench201", arguments.tasks)
    names = arguments.proxies.split(",")
    settings = {key: getattr(arguments, key) for key in ("cells", "resolution", "batch")}
    small = search_spaces.create(
        "nasbench201", cells=arguments.cells, resolution=[arguments.resolution]
    )
    images, labels = _batch(arguments.images, arguments.batch)
    rows = drawn(pairs[0][0], arguments.networks)
    archs = pairs[0][0].space.canonical(pairs[0][0].archs[rows]).astype(np.int64)
    values = computed(ZeroCost(small, names, images, labels), archs, settings, arguments.keep)
    console = Console(width=118)
    for table, task in pairs:
        y = table.labels[task][rows]
        part = Labelled(table.name, table.space, archs, {task: y}, table.macs[rows], rows, ())
        alone = {name: metrics.kendall_tau(y, values[:, i]) for i, name in enumerate(names)}
        alone["MACs"] = metrics.kendall_tau(y, part.macs)
        console.print(_shown(f"{task}: {len(y)} networks, Kendall's tau of", alone))
        known = Proxies(table.space, tuple(names), archs, values)
        each = [known.only([name]) for name in names] if arguments.each else []
        sizes = [int(n) for n in arguments.n.split(",")]
        found = gains(part, y, [*each, known], arguments.types.split(","), sizes, arguments.seeds)
        out = Table(*(found[0] if found else ()), title=f"{task}: predictors on the others")
        for row in found:
            out.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
        console.print(out)


def _shown(title: str, values: Mapping[str, float]) -> Table:
    table = Table(*values, title=title)
    table.add_row(*(f"{value:.3f}" for value in values.values()))
    return table


def _batch(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first training images, as a network takes them, and their classes."""
    from nas.data.config import Cifar10Config
    from nas.data.registry import load

    data = load(Cifar10Config(type="cifar10", path=folder), seed=0)
    images = data.train.images[:count].astype(np.float32) / 255
    return (images - data.mean) / data.std, data.train.labels[:count]


if __name__ == "__main__":
    main()
