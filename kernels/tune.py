"""Find block sizes of the Pallas kernels: `python -m kernels.tune --op depthwise_conv`.

On a device every size is timed. For a TPU that is elsewhere (`--target`) its compiler is asked; it
estimates no cycles for Pallas kernels, so the largest block that it accepts wins, as it takes the
fewest steps. Such an answer is an estimate and is labelled as one. Of a GPU a compiler tells
registers, which say too little.
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from datetime import date
from functools import partial
from importlib.resources import files
from itertools import product
from pathlib import Path

import jax

from kernels import tiles
from kernels.aot import PALLAS_OPERATIONS, TPUS, both_ways, compiled, kind_of
from kernels.bench import times_ms
from kernels.dispatch import device_kind
from kernels.inventory import Spec, specs

Sizes = Mapping[str, int]
# Of each implementation, groups of sizes that do not touch each other. All sizes of a group are
# tried together, beside the first ones of the others; of equals the first is taken.
_TRIED: Mapping[tuple[str, str], tuple[Mapping[str, tuple[int, ...]], ...]] = {
    ("depthwise_conv", "pallas_gpu"): (
        {"length": (8, 4), "spans": (16, 8, 32), "channels": (32, 64), "warps": (4, 2)},
        {
            "gradient_spans": (8, 4, 16),
            "gradient_channels": (32, 64),
            "gradient_warps": (4, 2),
            "gradient_taps": (9, 25),
        },
        {"pixels": (64, 32, 128)},
    ),
    ("depthwise_conv", "pallas_tpu"): (
        {
            "columns": (16, 8, 32),
            "block_kib": (3072, 2048, 6144),
            "vmem_kib": (16384, 32768),
        },
    ),
    ("pointwise_conv", "pallas_tpu"): ({"rows": (256, 512, 1024, 2048)},),
}


def groups(operation: str, implementation: str) -> list[list[Sizes]]:
    """What is tried of each group, with the first of the others."""
    tried = _TRIED[operation, implementation]
    first = {name: values[0] for group in tried for name, values in group.items()}
    return [
        [{**first, **dict(zip(group, sizes, strict=True))} for sizes in product(*group.values())]
        for group in tried
    ]


def timed_ms(spec: Spec, batch: int, sizes: Sizes, runs: int = 5) -> float:
    """Time of forward and gradients on the default device: of its kernels on a GPU."""
    call, shapes = both_ways(spec, batch, "float32")
    keys = jax.random.split(jax.random.key(0), len(shapes))
    operands = [
        jax.random.normal(key, a.shape, a.dtype) for key, a in zip(keys, shapes, strict=True)
    ]
    with tiles.use(sizes):
        run = jax.jit(call)
        jax.block_until_ready(run(*operands))
    return times_ms({"": partial(run, *operands)}, runs)[""]


def largest_block(sizes: Sizes, target: str, spec: Spec, batch: int) -> float:
    """Size of the blocks of maps if the TPU's compiler takes them, else 0."""
    try:
        with tiles.use(sizes):
            compiled(target, *both_ways(spec, batch, "float32"))
    except jax.errors.JaxRuntimeError:
        return 0.0
    return float(sizes.get("block_kib", sizes.get("rows", 0)))


def main() -> None:
    """Parse the arguments, try all sizes, write the best into the operation's `tiles.json`."""
    parser = argparse.ArgumentParser(prog="python -m kernels.tune", description=__doc__)
    parser.add_argument("--op", choices=PALLAS_OPERATIONS["tpu"], required=True)
    parser.add_argument("--target", choices=[*TPUS], help="default: the device here, timed")
    parser.add_argument("--only", default="", help="shapes whose name contains this")
    parser.add_argument("--every", type=int, default=9, help="take one shape of so many")
    parser.add_argument("--batch", type=int, default=128, help="images (default: %(default)s)")
    arguments = parser.parse_args()
    op, target = arguments.op, arguments.target
    chosen = [spec for spec in specs(op) if arguments.only in spec.name][:: arguments.every]
    platform = "tpu" if target else jax.default_backend()
    if platform == "cpu":
        parser.error("no accelerator here to time on; give a --target for the compiler's estimate")
    if op not in PALLAS_OPERATIONS[platform]:
        parser.error(f"--op {op}: a {platform} has no Pallas kernel for it")
    implementation = f"pallas_{platform}"
    how = f"timed on {device_kind()}"
    if target:
        how = "compiler estimate: largest block that compiles"

    def score(sizes: Sizes) -> float:
        if target:
            found = [largest_block(sizes, target, spec, arguments.batch) for spec in chosen]
        else:
            found = [1 / timed_ms(spec, arguments.batch, sizes) for spec in chosen]
        mean = statistics.geometric_mean(found) if all(found) else 0.0
        print(f"{mean:12.1f}  {sizes}")  # noqa: T201
        return mean

    best: dict[str, int] = {}
    for group, names in zip(groups(op, implementation), _TRIED[op, implementation], strict=True):
        of_group = max(group, key=score)
        best |= {name: of_group[name] for name in names}
    kind = kind_of(target) if target else device_kind()
    entry = {"sizes": best, "found": f"{date.today()}, {how}"}
    path = Path(str(files(f"kernels.{op}"))) / "tiles.json"
    document = json.loads(path.read_text())
    document[implementation][kind] = entry
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(f"{path}: {kind}: {entry}")  # noqa: T201


if __name__ == "__main__":
    main()
