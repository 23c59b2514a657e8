"""The arena of a network as a picture in the terminal (`nas show RUN/ID --memory`)."""

from typing import Any

import typer

from hw_profiles.mcu.planner import Buffer, Plan

_WIDTH = 48
_TOP = 6


def print_timeline(plan: Plan) -> None:
    """A line a layer: where in the arena its tensors lie; then what makes the peak."""
    scale = _WIDTH / plan.arena_bytes
    names = max(len(step.name) for step in plan.steps)
    typer.echo(
        f"arena of {plan.arena_bytes:,} bytes"
        + (", no plan of these layers needs less" if plan.optimal else "")
        + f" (at least {plan.bound_bytes:,} are needed)"
    )
    typer.echo("# read or made by the layer, = waiting for a later one, + scratch memory\n")
    peak = plan.peak_step
    for i, step in enumerate(plan.steps):
        bar = [" "] * _WIDTH
        for buffer in plan.live(i):
            mark = _mark(buffer, (*step.reads, step.makes))
            end = max(buffer.offset + buffer.size, buffer.offset + 1)
            for column in range(int(buffer.offset * scale), max(1, round(end * scale))):
                bar[min(column, _WIDTH - 1)] = mark
        note = "  <- peak" if i == peak else ""
        typer.echo(f"{step.name:{names}} |{''.join(bar)}| {plan.used(i):>9,}{note}")
    typer.echo(f"\nthe peak, {plan.steps[peak].name}, is made of")
    for buffer in plan.live(peak)[:_TOP]:
        what = "scratch memory of" if buffer.scratch else "tensor"
        typer.echo(f"{buffer.size:>9,} bytes at {buffer.offset:,}: {what} {buffer.name}")


def described(plan: Plan) -> dict[str, Any]:
    """The same as JSON-able values."""
    return {
        "arena_bytes": plan.arena_bytes,
        "bound_bytes": plan.bound_bytes,
        "optimal": plan.optimal,
        "peak": plan.steps[plan.peak_step].name,
        "layers": [
            {
                "name": step.name,
                "used_bytes": plan.used(i),
                "live": [
                    {"name": b.name, "bytes": b.size, "offset": b.offset, "scratch": b.scratch}
                    for b in plan.live(i)
                ],
            }
            for i, step in enumerate(plan.steps)
        ],
    }


def _mark(buffer: Buffer, of_step: tuple[str, ...]) -> str:
    if buffer.scratch:
        return "+"
    return "#" if buffer.name in of_step else "="
