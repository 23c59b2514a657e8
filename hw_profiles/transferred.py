"""Costs of blocks on a device of which only whole networks were measured."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransferredCosts:
    """What the blocks of one space add to a network's latency, learned from other devices.

    Only their sums over a network mean something: a block of it alone was never measured.

    Args:
        space: `identity` of the space.
        value_us: by the table's key of the block.
        interval: relative half-width of an estimate's 90 % interval.
        error: mean absolute relative error of the measured networks, each left out of the fit.
        networks: how many were measured.
        sources: the other devices, each with what is known of it; none are possible.
        doubts: why the estimates should not be trusted; empty where nothing speaks against them.
        session: index of the session in which the last networks were measured.
    """

    space: str
    value_us: Mapping[str, float]
    interval: float
    error: float
    networks: int
    sources: tuple[str, ...]
    doubts: tuple[str, ...]
    session: int
