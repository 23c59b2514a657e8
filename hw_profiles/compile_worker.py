"""Compiles networks for one target, in a process of its own: the compilers must not meet ours.

    python -m hw_profiles.compile_worker TARGET

A line of JSON in is a network, a line out is what its compiler says of it. `compilers` starts it.
"""

import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding

from hw_profiles.gpu_launches import launches
from hw_profiles.hlo import parse, tpu_cycles
from hw_profiles.program import forward, shapes
from kernels.depthwise_conv.api import OPERATION as DEPTHWISE
from kernels.dispatch import platform
from kernels.pointwise_conv.api import OPERATION as POINTWISE
from kernels.targets import TPUS, assemble, kind_of, topology_device
from search_spaces.ir.graph import Graph
from search_spaces.ir.passes import fold_batchnorm
from search_spaces.ir.serialize import from_dict


def compiled(graph: Graph, batch: int, dtype: str, target: str) -> dict[str, Any]:
    """What the compiler says of a network.

    For GPUs the network runs in hwnas' Pallas kernels where there is one, else in XLA's and
    cuDNN's. For TPUs all of it is XLA's own: of a Pallas kernel its compiler tells no cycles.

    Args:
        graph: the network, or a part of one.
        batch: examples.
        dtype: of all arrays.
        target: a key of `kernels.targets.TPUS` or `GPUS`.

    Returns:
        For a TPU `cycles` and `silent` (instructions without an estimate), for a GPU `launches`.
    """
    graph = fold_batchnorm(graph)
    operands = shapes(graph, batch, dtype, SingleDeviceSharding(topology_device(target)))
    with ExitStack() as stack:
        stack.enter_context(platform("tpu" if target in TPUS else "gpu", kind_of(target)))
        if target in TPUS:
            for operation in (DEPTHWISE, POINTWISE):
                stack.enter_context(operation.use("reference"))
        lowered = jax.jit(forward(graph)).lower(*operands)
        if target in TPUS:
            cycles, silent = tpu_cycles(parse(lowered.compile().as_text() or ""))
            return {"cycles": cycles, "silent": list(silent)}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made = lowered.compile({"xla_dump_to": str(folder), "xla_gpu_autotune_level": "0"})
        entries = assemble(sorted(folder.glob("*.ptx")), target)
        [sequence], [metadata] = (
            [path.read_text() for path in folder.glob(f"*.{name}.txt")]
            for name in ("thunk_sequence", "thunk_metadata")
        )
        found = launches(
            parse(made.as_text() or ""),
            sequence,
            metadata,
            {entry.name: entry for entry in entries},
        )
        return {"launches": [asdict(launch) for launch in found]}


def _cpu_s() -> float:
    """Seconds of processors that this process and its children took."""
    return sum(os.times()[:4])


def main() -> None:
    """Answer until the input ends."""
    target = sys.argv[1]
    for line in sys.stdin:
        asked = json.loads(line)
        start, cpu = time.perf_counter(), _cpu_s()
        answer: dict[str, Any]
        try:
            graph = from_dict(asked["graph"])
            answer = compiled(graph, asked["batch"], asked["dtype"], target)
        # Compilers raise what they like; the asker is told.
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answer["compile_s"] = round(time.perf_counter() - start, 2)
        answer["cpu_s"] = round(_cpu_s() - cpu, 2)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
