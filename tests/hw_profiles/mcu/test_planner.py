from itertools import permutations

import numpy as np
import pytest

from hw_profiles.mcu.placement import Problem, place
from hw_profiles.mcu.planner import Plan, Step, bound_bytes, plan


def _random_network(rng: np.random.Generator, steps: int) -> tuple[dict[str, int], list[Step]]:
    """Chains with residual additions, some of whose steps work in place or need scratch."""
    sizes = {"t0": 4 * int(rng.integers(1, 30))}
    made = []
    for i in range(steps):
        reads = [f"t{i}"]
        if i > 1 and rng.random() < 0.4:
            reads.append(f"t{int(rng.integers(0, i - 1))}")
        sizes[f"t{i + 1}"] = 4 * int(rng.integers(1, 30))
        kind = rng.random()
        in_place = tuple(reads) if kind < 0.3 else ()
        below = {reads[0]: 4 * int(rng.integers(0, 4))} if kind > 0.7 else {}
        scratch = 4 * int(rng.integers(1, 10)) if rng.random() < 0.3 else 0
        made.append(Step(f"s{i}", tuple(reads), f"t{i + 1}", scratch, in_place, below))
    return sizes, made


def _check(planned: Plan, sizes: dict[str, int], outputs: set[str]) -> None:
    """Plays the steps on a memory that knows whose each byte is."""
    owner: dict[int, str] = {}
    spans = {
        b.name: range(b.offset, b.offset + sizes[b.name]) for b in planned.buffers if not b.scratch
    }
    assert max(span.stop for span in spans.values()) <= planned.arena_bytes
    owner |= dict.fromkeys(spans["t0"], "t0")
    for step in planned.steps:
        for name in step.reads:
            assert all(owner[byte] == name for byte in spans[name]), (step, name)
        scratch = range(0)
        if step.scratch_bytes:
            start = planned.scratch_offset(step.name)
            scratch = range(start, start + step.scratch_bytes)
        assert all(owner.get(byte) not in step.reads for byte in scratch)
        owner |= dict.fromkeys(scratch, "scratch")
        for name in step.reads:
            if set(spans[name]) & set(spans[step.makes]):
                below = spans[name].start - spans[step.makes].start
                together = below == 0 and name in step.in_place
                assert together or below >= step.below[name]
        owner |= dict.fromkeys(spans[step.makes], step.makes)
        assert not set(scratch) & set(spans[step.makes])
    for name in outputs:
        assert all(owner[byte] == name for byte in spans[name])


def _brute_force(planned: Plan, sizes: dict[str, int]) -> int:
    """Every order of the buffers from below, each as low as those below it allow; and every set of
    pairs that start together.
    """
    buffers, steps = planned.buffers, planned.steps
    number = {b.name: i for i, b in enumerate(buffers) if not b.scratch}
    pairs = [(number[s.makes], number[n]) for s in steps for n in s.in_place]
    below = {(number[s.makes], number[n]): d for s in steps for n, d in s.below.items()}
    best = 10**9
    for mask in range(2 ** len(pairs)):
        joined = {pair for k, pair in enumerate(pairs) if mask >> k & 1}
        for order in permutations(range(len(buffers))):
            start: dict[int, int] = {}
            for i in order:
                low = 0
                for j in start:
                    if buffers[i].first <= buffers[j].last and buffers[j].first <= buffers[i].last:
                        if (i, j) in joined or (j, i) in joined:
                            low = max(low, start[j])
                        else:
                            low = max(
                                low, start[j] + min(below.get((j, i), 10**9), buffers[j].size)
                            )
                start[i] = low
            if all(start[i] == start[j] for i, j in joined):
                best = min(best, max(start[i] + buffers[i].size for i in start))
    return best


@pytest.mark.parametrize("seed", range(30))
def test_small_plans_are_valid_and_as_small_as_brute_force_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes, steps = _random_network(rng, int(rng.integers(2, 5)))
    outputs = {steps[-1].makes}
    planned = plan(sizes, steps, ["t0"], sorted(outputs))
    _check(planned, sizes, outputs)
    if len(planned.buffers) <= 6:
        assert planned.arena_bytes == _brute_force(planned, sizes)
        assert planned.optimal
    assert planned.bound_bytes <= planned.arena_bytes


@pytest.mark.parametrize("seed", range(4))
def test_large_plans_are_valid(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    sizes, steps = _random_network(rng, 25)
    planned = plan(sizes, steps, ["t0"], [steps[-1].makes])
    _check(planned, sizes, {steps[-1].makes})
    assert planned.arena_bytes <= 1.15 * planned.bound_bytes


def test_a_step_in_place_takes_no_second_map() -> None:
    sizes = {"x": 4000, "y": 4000, "z": 400}
    steps = [Step("dw", ("x",), "y", below={"x": 200}), Step("pw", ("y",), "z")]
    planned = plan(sizes, steps, ["x"], ["z"])
    assert planned.arena_bytes == planned.bound_bytes == 4400
    assert planned.offset("x") - planned.offset("y") >= 200
    assert planned.optimal


def test_an_input_that_is_read_again_is_not_overwritten() -> None:
    sizes = {"x": 4000, "y": 4000, "z": 4000}
    steps = [
        Step("dw", ("x",), "y", below={"x": 200}),
        Step("add", ("x", "y"), "z", in_place=("x", "y")),
    ]
    planned = plan(sizes, steps, ["x"], ["z"])
    assert planned.arena_bytes == 8000
    assert planned.offset("z") in (planned.offset("x"), planned.offset("y"))


def test_the_peak_is_explained_by_what_is_live() -> None:
    sizes = {"x": 100, "y": 1000, "z": 40}
    steps = [Step("a", ("x",), "y", 12), Step("b", ("y",), "z")]
    planned = plan(sizes, steps, ["x"], ["z"])
    assert planned.peak_step == 0
    assert [b.name for b in planned.live(0)] == ["y", "x", "a"]
    assert planned.used(0) == planned.arena_bytes == 1112


def test_a_placement_says_when_it_does_not_know() -> None:
    rng = np.random.default_rng(0)
    sizes = [int(size) for size in rng.integers(100, 1000, 60)]
    apart: list[dict[int, int]] = [{} for _ in sizes]
    for i, j in rng.integers(0, 60, (300, 2)):
        if i != j:
            apart[i][int(j)], apart[j][int(i)] = sizes[i], sizes[j]
    placement = place(Problem(sizes, apart, 1), [range(60)])
    assert not placement.optimal
    assert placement.total >= max(sizes)


def test_a_step_in_place_makes_way_where_its_neighbours_overlap_further_without() -> None:
    # The start of a MobileNet: image -> strided convolution -> depthwise -> wider pointwise.
    sizes = {"t0": 2760, "conv": 1840, "dw": 1840, "pw": 3680}
    sizes |= dict.fromkeys((f"s{i}" for i in range(24)), 400)
    steps = [
        Step("a", ("t0",), "conv", below={"t0": 40}),
        Step("b", ("conv",), "dw", in_place=("conv",)),
        Step("c", ("dw",), "pw", below={"dw": 1848}),
        Step("d", ("pw",), "s0"),
        *(Step(f"e{i}", (f"s{i}",), f"s{i + 1}", in_place=(f"s{i}",)) for i in range(23)),
    ]
    planned = plan(sizes, steps, ["t0"], ["s23"])
    _check(planned, sizes, {"s23"})
    assert planned.arena_bytes == planned.bound_bytes == 3680 + 400
    assert bound_bytes(sizes, steps, ["t0"], ["s23"]) == planned.bound_bytes
