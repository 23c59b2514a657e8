"""What a call takes on an accelerator itself, from JAX's profiler (CUPTI on a GPU).

A host's clock would count what it takes to start a program, which on an H100 is ten times the time
of a kernel.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax.profiler import ProfileData

Key = TypeVar("Key")
_WARMUPS = 3


def device_ms(calls: Mapping[Key, Callable[[], Any]], runs: int) -> dict[Key, float]:
    """Milliseconds of the kernels of each call, mean of some runs, after some that are not counted.

    Args:
        calls: what is timed; another library's kernels of this process count too.
        runs: of each.

    Raises:
        RuntimeError: the profiler saw no kernel.
    """
    return {key: _one_ms(call, runs) for key, call in calls.items()}


def _one_ms(call: Callable[[], Any], runs: int) -> float:
    for _ in range(_WARMUPS):
        jax.block_until_ready(call())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(runs):
                jax.block_until_ready(call())
        [path] = Path(folder).rglob("*.xplane.pb")
        data = ProfileData.from_file(str(path))
    spent_ns = [
        event.duration_ns
        for plane in data.planes
        if plane.name.startswith("/device:GPU")
        for line in plane.lines
        if line.name.startswith("Stream")
        for event in line.events
    ]
    if not spent_ns:
        raise RuntimeError("JAX's profiler saw no kernel on a GPU; it needs CUPTI")
    return sum(spent_ns) / runs / 1e6
