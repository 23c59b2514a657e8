"""The arena: the one block of RAM that all tensors of a network share, each while it is in use.

A tensor lives from the step that makes it to the last one that reads it; the network's inputs live
from the start, its outputs to the end. A step may have scratch memory of its own. Where a kernel
writes only what it will not read again, its output may lie over its input, a few rows below
(`Step.below`), or just where it is (`Step.in_place`): depthwise convolutions, additions, look-ups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, product
from math import prod

from hw_profiles.mcu.placement import Placement, Problem, place

# All ways of working in place or not are tried where they are no more than these; of networks of
# many tensors only a few.
_CHOICES, _FEW_CHOICES, _MANY_BUFFERS = 64, 3, 24

# Kernels load words: every tensor starts at a multiple of four bytes.
ALIGNMENT = 4


@dataclass(frozen=True, slots=True)
class Step:
    """A layer as the arena sees it.

    Args:
        name: of the layer.
        reads: the tensors that it reads.
        makes: the tensor that it makes, or a part of it: it lives from its first part.
        scratch_bytes: memory that it needs for itself.
        in_place: inputs at whose start its output may start, if nobody reads them later.
        below: inputs that its output may lie over in the same case: by how many bytes it must start
            below them.
    """

    name: str
    reads: tuple[str, ...]
    makes: str
    scratch_bytes: int = 0
    in_place: tuple[str, ...] = ()
    below: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Buffer:
    """A tensor's or a step's scratch memory in the arena.

    Args:
        name: of the tensor, or of the step whose scratch it is.
        size: bytes.
        first: number of the step that first writes it; inputs are there at step 0.
        last: number of the last step that reads it.
        offset: where it starts.
        scratch: whether it is scratch memory.
    """

    name: str
    size: int
    first: int
    last: int
    offset: int = 0
    scratch: bool = False


@dataclass(frozen=True)
class Plan:
    """Where everything lies.

    Args:
        steps: the steps, in order.
        buffers: tensors and scratch memory, placed.
        arena_bytes: size of the arena.
        bound_bytes: what any plan of these steps in this order needs at least.
        optimal: whether no plan needs less; False where that is not known.
    """

    steps: tuple[Step, ...]
    buffers: tuple[Buffer, ...]
    arena_bytes: int
    bound_bytes: int
    optimal: bool

    def offset(self, tensor: str) -> int:
        """Where a tensor starts."""
        return next(b.offset for b in self.buffers if b.name == tensor and not b.scratch)

    def scratch_offset(self, step: str) -> int:
        """Where the scratch memory of a step starts; 0 where it has none."""
        return next((b.offset for b in self.buffers if b.name == step and b.scratch), 0)

    def live(self, step: int) -> tuple[Buffer, ...]:
        """What is in use while a step runs, the largest first."""
        there = (b for b in self.buffers if b.first <= step <= b.last)
        return tuple(sorted(there, key=lambda b: -b.size))

    def used(self, step: int) -> int:
        """Bytes of the arena from the lowest to the highest that are in use while a step runs."""
        live = self.live(step)
        covered, end = 0, 0
        for buffer in sorted(live, key=lambda b: b.offset):
            covered += max(0, buffer.offset + buffer.size - max(end, buffer.offset))
            end = max(end, buffer.offset + buffer.size)
        return covered

    @property
    def peak_step(self) -> int:
        """Number of the step during which most of the arena is in use."""
        return max(range(len(self.steps)), key=self.used)


def plan(
    sizes: Mapping[str, int],
    steps: Sequence[Step],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> Plan:
    """Place every tensor and every step's scratch memory.

    Args:
        sizes: bytes of each tensor.
        steps: in the order in which they run.
        inputs: tensors that are there when the first step begins.
        outputs: tensors that must still be there when the last step has ended.
    """
    buffers, steps, bound = _bounded(sizes, steps, inputs, outputs)
    choices, complete = _choices(sizes, steps, len(buffers))
    best = None
    for choice in choices:
        placement, offsets = _placed(buffers, steps, choice, bound)
        complete &= placement.optimal
        if best is None or placement.total < best[0].total:
            best = placement, offsets
        if best[0].total == bound:
            break
    if best is None:
        raise ValueError("a plan needs steps")
    placed = tuple(replace(b, offset=at) for b, at in zip(buffers, best[1], strict=True))
    optimal = best[0].total == bound or complete
    return Plan(steps, placed, best[0].total, bound, optimal)


def bound_bytes(
    sizes: Mapping[str, int],
    steps: Sequence[Step],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> int:
    """What any plan needs at least, without looking for one. Arguments are those of `plan`."""
    return _bounded(sizes, steps, inputs, outputs)[2]


def _bounded(
    sizes: Mapping[str, int], steps: Sequence[Step], inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[list[Buffer], tuple[Step, ...], int]:
    """Buffers, the steps with the overlaps that are allowed, and the bytes that one step needs."""
    buffers = _lifetimes(sizes, steps, inputs, outputs)
    last = {b.name: b.last for b in buffers if not b.scratch}
    steps = tuple(_ending(step, i, last) for i, step in enumerate(steps))
    bound = max((_bound(buffers, step, i) for i, step in enumerate(steps)), default=0)
    return buffers, steps, bound


def _choices(
    sizes: Mapping[str, int], steps: Sequence[Step], buffers: int
) -> tuple[list[tuple[str | None, ...]], bool]:
    """Ways of working in place to try, everything in place first; whether they are all there are.

    Of many tensors, one step at a time is told to work elsewhere, those of the largest tensors: a
    depthwise output elsewhere can lie so that its neighbours overlap further.
    """
    options = [(*step.in_place, None) for step in steps]
    if buffers <= _MANY_BUFFERS:
        return list(islice(product(*options), _CHOICES)), prod(map(len, options)) <= _CHOICES
    first = tuple(option[0] for option in options)
    able = [number for number, step in enumerate(steps) if step.in_place]
    able.sort(key=lambda number: -max(sizes[name] for name in steps[number].in_place))
    few = able[:_FEW_CHOICES]
    return [first, *((*first[:n], None, *first[n + 1 :]) for n in few)], not able


def _lifetimes(
    sizes: Mapping[str, int],
    steps: Sequence[Step],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> list[Buffer]:
    first = dict.fromkeys(inputs, 0)
    for i, step in enumerate(steps):
        first.setdefault(step.makes, i)
    last = dict(first)
    for i, step in enumerate(steps):
        last |= dict.fromkeys((*step.reads, step.makes), i)
    last |= dict.fromkeys(outputs, len(steps) - 1)
    tensors = [Buffer(name, aligned(sizes[name]), first[name], last[name]) for name in first]
    scratch = [
        Buffer(step.name, aligned(step.scratch_bytes), i, i, scratch=True)
        for i, step in enumerate(steps)
        if step.scratch_bytes
    ]
    return tensors + scratch


def _ending(step: Step, number: int, last: Mapping[str, int]) -> Step:
    """The step with those overlaps that its inputs' lifetimes allow."""
    in_place = tuple(name for name in step.in_place if last[name] == number)
    below = {name: aligned(n) for name, n in step.below.items() if last[name] == number}
    return replace(step, in_place=in_place, below=below)


def _bound(buffers: Sequence[Buffer], step: Step, number: int) -> int:
    """What is in use in a step has to fit, its output over an input where it may."""
    live = [b for b in buffers if b.first <= number <= b.last]
    sizes = {b.name: b.size for b in live if not b.scratch}
    below = {**step.below, **dict.fromkeys(step.in_place, 0)}
    made, covered = sizes[step.makes], sum(sizes[name] for name in below)
    added = min((max(distance, made - covered) for distance in below.values()), default=made)
    return sum(b.size for b in live) - made + min(added, made)


def _placed(
    buffers: Sequence[Buffer], steps: Sequence[Step], choice: Sequence[str | None], bound: int
) -> tuple[Placement, list[int]]:
    """Offsets of all buffers where each step works in place of the chosen input."""
    over = {step.makes: name for step, name in zip(steps, choice, strict=True) if name}
    group_of, groups = [0] * len(buffers), list[list[int]]()
    number = {b.name: i for i, b in enumerate(buffers) if not b.scratch}
    for i in sorted(range(len(buffers)), key=lambda i: (buffers[i].first, i)):
        source = None if buffers[i].scratch else over.get(buffers[i].name)
        if source is None:
            group_of[i] = len(groups)
            groups.append([i])
        else:
            group_of[i] = group_of[number[source]]
            groups[group_of[i]].append(i)
    merged = [
        Buffer(
            "",
            max(buffers[i].size for i in group),
            min(buffers[i].first for i in group),
            max(buffers[i].last for i in group),
        )
        for group in groups
    ]
    apart = _distances(buffers, steps, group_of, len(groups))
    placement = place(Problem([b.size for b in merged], apart, bound), _orders(merged))
    return placement, [placement.offsets[group] for group in group_of]


def _distances(
    buffers: Sequence[Buffer], steps: Sequence[Step], group_of: Sequence[int], groups: int
) -> list[dict[int, int]]:
    """How far apart groups must start, from the buffers that are in use at the same time."""
    below = {(step.makes, name): n for step in steps for name, n in step.below.items()}
    apart: list[dict[int, int]] = [{} for _ in range(groups)]
    for i, a in enumerate(buffers):
        for j, b in enumerate(buffers):
            low, high = group_of[i], group_of[j]
            if low != high and a.first <= b.last and b.first <= a.last:
                both = not (a.scratch or b.scratch)
                distance = min(below.get((a.name, b.name), a.size) if both else a.size, a.size)
                apart[low][high] = max(distance, apart[low].get(high, 0))
    return apart


def _orders(buffers: Sequence[Buffer]) -> list[list[int]]:
    """Orders that are good for a start: large ones first, long-lived ones first, by time."""
    items = range(len(buffers))
    return [
        sorted(items, key=lambda i: -buffers[i].size),
        sorted(items, key=lambda i: -buffers[i].size * (buffers[i].last - buffers[i].first + 1)),
        sorted(items, key=lambda i: (buffers[i].first, -buffers[i].size)),
        sorted(items, key=lambda i: (-buffers[i].last, -buffers[i].size)),
    ]


def aligned(size: int) -> int:
    """Bytes that a buffer of that size takes."""
    return -(-size // ALIGNMENT) * ALIGNMENT
