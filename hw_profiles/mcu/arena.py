"""The arena of a network: its layers as the planner sees them."""

from math import prod
from typing import Any

import numpy as np

from hw_profiles.mcu.constants import constants, scratch_bytes
from hw_profiles.mcu.layers import IN_PLACE
from hw_profiles.mcu.lower import Call, Int8Network
from hw_profiles.mcu.overlap import distance_below
from hw_profiles.mcu.planner import Plan, Step, plan


def arena(network: Int8Network, *, simd: bool | None) -> Plan:
    """Where the tensors of a network lie, and the scratch memory of its kernels.

    Args:
        network: the layers.
        simd: for a core with the DSP extension, whose kernels need other scratch; None for a plan
            that serves both kinds of cores.
    """
    sizes = {name: prod(shape) for name, shape in network.shapes.items()}
    steps = [_step(call, simd) for call in network.calls]
    return plan(sizes, steps, network.inputs, network.outputs)


def flash_bytes(network: Int8Network, *, simd: bool) -> int:
    """Bytes of constants: weights, biases, factors, tables and the structs that point to them.

    The patches of a layer share its arrays.
    """
    words, arrays = 0, dict[tuple[int, str, bytes], int]()
    for call in network.calls:
        layer: Any = call.layer
        origin = id(getattr(layer, "weight", getattr(layer, "table", None)))
        for value in constants(layer, simd=simd).values():
            words += 1
            if isinstance(value, np.ndarray):
                arrays[origin, value.dtype.str, value.tobytes()] = value.nbytes
    return 4 * words + sum(arrays.values())


def _step(call: Call, simd: bool | None) -> Step:
    layer = call.layer
    kinds = (False, True) if simd is None else (simd,)
    scratch = max(scratch_bytes(layer, simd=kind) for kind in kinds)
    # An addition may write over either of its inputs, other kernels over the first.
    places = call.reads if layer.op == "add" else call.reads[:1]
    in_place = tuple(dict.fromkeys(places)) if layer.op in IN_PLACE else ()
    if layer.op == "multiply" and call.reads[0] == call.reads[1]:
        in_place = ()
    distance = distance_below(layer)
    # A depthwise output starts where its input does, or elsewhere: it goes channel by channel.
    below = {call.reads[0]: distance} if distance else {}
    return Step(call.name, call.reads, call.makes, scratch, in_place, below)
