from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hw_profiles.profile import profile
from hw_profiles.profilers.base import Measurement
from hw_profiles.table import LatencyTable, load
from nas.costs import Costs
from nas.objectives import Constraint, Objective
from nas.testing.device_suite import FAKE, SPACE, FakeProfiler
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap

BLOCKS = BlockMap(SPACE)
ENERGY = Objective(metric="energy_mj", device="fake")


def metered(measurement: Measurement) -> Measurement:
    """Four watts, whatever runs."""
    return replace(measurement, energy_mj=4e-3 * measurement.value_us, energy_spread_mj=1e-6)


@pytest.fixture
def table(tmp_path: Path) -> LatencyTable:
    """As a profiler with a meter leaves it, read back from its file."""
    table = profile(SPACE, FAKE, tmp_path / "t.json", networks=12, profiler=FakeProfiler())
    networks = [replace(n, measurement=metered(n.measurement)) for n in table.networks]
    units = {key: metered(unit) for key, unit in table.units.items()}
    replace(table, units=units, networks=tuple(networks)).save(tmp_path / "metered.json")
    return load(tmp_path / "metered.json")


def costs(table: LatencyTable) -> Costs:
    energy = table.bind_energy(SPACE, BLOCKS)
    return Costs(BLOCKS, {"fake": table.bind(SPACE, BLOCKS)}, {"fake": energy} if energy else {})


def test_energy_is_a_cost_like_latency(table: LatencyTable) -> None:
    both, archs = costs(table), SPACE.sample(np.random.default_rng(3), 20)
    found = both.evaluate(archs)
    np.testing.assert_allclose(found["energy_mj@fake"], 4.0 * found["latency_ms@fake"], rtol=1e-9)
    low, high = both.with_intervals(archs)[1]["energy_mj@fake"]
    assert np.all((low <= found["energy_mj@fake"]) & (found["energy_mj@fake"] <= high))
    assert both.sources()["energy_mj@fake"] == "estimated from blocks"
    both.check_known([ENERGY, Objective(metric="accuracy"), Objective(metric="macs")])
    least, most = both.reachable("energy_mj@fake")
    assert least.value <= found["energy_mj@fake"].min() <= found["energy_mj@fake"].max()
    assert most.value >= found["energy_mj@fake"].max()
    bound = Constraint(metric="energy_mj", device="fake", upper=0.5 * least.value)
    with pytest.raises(InputError, match=r"energy_mj@fake <= .* can't be met: the minimum"):
        both.check_reachable([bound])


def test_devices_together_cost_what_each_costs_alone(table: LatencyTable) -> None:
    """One of them with interpolated blocks, one with a block that nobody knows."""
    whole, rng = table.bind(SPACE, BLOCKS), np.random.default_rng(5)
    gone = next(key for key in whole.keys if key in table.units)
    units = {key: unit for key, unit in table.units.items() if key != gone}
    lacking = replace(table, units=units).bind(SPACE, BLOCKS)
    spread_us = rng.uniform(1, 50, len(whole.keys))
    guessed = replace(whole.units, interpolated=spread_us > 20, spread_us=spread_us)
    bound = {"whole": whole, "lacking": lacking, "filled": replace(whole, units=guessed)}
    archs = rng.integers(0, SPACE.cardinality[None], (50, len(SPACE.knobs)))
    columns, intervals = Costs(BLOCKS, bound, {"whole": whole}).with_intervals(archs)
    for device, alone in bound.items():
        expected, name = alone.cost(archs), f"latency_ms@{device}"
        np.testing.assert_allclose(columns[name], expected.mean_ms, rtol=1e-12)
        np.testing.assert_allclose(intervals[name][0], expected.lower_ms, rtol=1e-12)
        np.testing.assert_allclose(intervals[name][1], expected.upper_ms, rtol=1e-12)
    assert 0 < np.isnan(columns["latency_ms@lacking"]).sum() < 50
    assert np.all(intervals["latency_ms@filled"][1] > intervals["latency_ms@whole"][1])
    assert np.array_equal(columns["energy_mj@whole"], columns["latency_ms@whole"])
    for name, per_unit in {"macs": BLOCKS.macs, "params": BLOCKS.params}.items():
        assert columns[name].dtype == np.int64
        assert np.array_equal(columns[name], BLOCKS.total(per_unit, archs))


@pytest.mark.parametrize(
    "lose",
    [
        lambda units: {key: replace(unit, energy_mj=None) for key, unit in units.items()},
        lambda units: (
            units | {next(iter(units)): replace(next(iter(units.values())), energy_mj=None)}
        ),
    ],
)
def test_a_table_without_energy_is_told_of(
    table: LatencyTable, lose: Callable[[dict[str, Measurement]], dict[str, Measurement]]
) -> None:
    lacking = costs(replace(table, units=lose(dict(table.units))))
    assert "energy_mj@fake" not in lacking.sources()
    with pytest.raises(InputError, match=r"energy_mj@fake: .* lacks the energy .* --again"):
        lacking.check_known([ENERGY, ENERGY])


def test_a_metric_that_nothing_evaluates_is_told_of(table: LatencyTable) -> None:
    sram = Constraint(metric="peak_sram_kib", device="fake", upper=3)
    with pytest.raises(InputError, match=r"peak_sram_kib@fake: only microcontrollers.* neither"):
        costs(table).check_known([sram])


def test_memory_that_a_compiler_told_of_blocks_is_a_cost(table: LatencyTable) -> None:
    """A network takes the RAM of its hungriest block and the flash of all of them."""
    told = {key: replace(u, sram_kib=u.value_us, flash_kib=2.0) for key, u in table.units.items()}
    bound, known = table.bind(SPACE, BLOCKS), replace(table, units=told)
    memory = known.bind_memory(BLOCKS)
    assert memory is not None
    assert table.bind_memory(BLOCKS) is None
    both = Costs(BLOCKS, {"fake": bound}, memory={"fake": memory})
    archs = SPACE.sample(np.random.default_rng(3), 20)
    found, rows = both.evaluate(archs), BLOCKS.index(archs)
    hungriest = [max(bound.units.value_us[u] for u in row if u >= 0) for row in rows]
    np.testing.assert_allclose(found["peak_sram_kib@fake"], np.array(hungriest))
    np.testing.assert_allclose(found["flash_kib@fake"], 2.0 * np.sum(rows >= 0, axis=1))
    assert both.sources()["flash_kib@fake"] == "planned by block"
    least, most = both.reachable("peak_sram_kib@fake")
    assert least.value <= min(hungriest) <= max(hungriest) <= most.value
    both.check_known([Objective(metric="flash_kib", device="fake")])
    bound = Constraint(metric="peak_sram_kib", device="fake", upper=0.5 * least.value)
    with pytest.raises(InputError, match=r"peak_sram_kib@fake <= .* can't be met: the minimum"):
        both.check_reachable([bound])


def test_a_table_with_gaps_is_refused_with_the_command(table: LatencyTable) -> None:
    gone = next(iter(table.units))
    lacking = replace(table, units={k: v for k, v in table.units.items() if k != gone})
    lacking = Costs(BLOCKS, {"fake": lacking.bind(SPACE, BLOCKS)})
    with pytest.raises(InputError) as caught:
        lacking.check_covered({"fake": FAKE})
    (line,) = caught.value.problems
    assert f"1 of {len(BLOCKS.keys)} blocks missing; run: nas profile" in line
    assert "allow_interpolation: true" in line
    with pytest.raises(InputError, match="too few measured blocks are of their kinds"):
        lacking.check_covered({"fake": FAKE}, allow_interpolation=True)
    costs(table).check_covered({"fake": FAKE})


def test_what_was_interpolated_is_said(table: LatencyTable) -> None:
    bound = table.bind(SPACE, BLOCKS)
    which = np.arange(len(bound.keys)) == 2
    units = replace(bound.units, interpolated=which, error=0.031)
    filled = Costs(BLOCKS, {"fake": replace(bound, units=units)})
    (line,) = filled.interpolated()
    assert f"1 of {len(bound.keys)} blocks are interpolated" in line
    assert line.endswith("missed by 3.1%")
    assert filled.sources()["latency_ms@fake"] == "estimated from blocks, some interpolated"
    assert costs(table).interpolated() == []


def test_bounds_that_exclude_each_other_are_named(table: LatencyTable) -> None:
    """Each of them can be met; every pair that is named is met by no architecture at all."""
    both = costs(table)
    fast = both.reachable("latency_ms@fake")[0].value
    big = both.reachable("params")[1].value
    few = Constraint(metric="latency_ms", device="fake", upper=1.02 * fast)
    many = Constraint(metric="params", lower=0.98 * big)
    found = both.evaluate(SPACE.sample(np.random.default_rng(0), 5000))
    assert not ((found["latency_ms@fake"] <= 1.02 * fast) & (found["params"] >= 0.98 * big)).any()
    for bound in (few, many):
        both.check_reachable([bound])
    with pytest.raises(InputError, match=r"latency_ms@fake <= .* and params >= .* together"):
        both.check_reachable([few, many])
    loose = Constraint(metric="params", lower=0.5 * both.reachable("params")[0].value)
    both.check_reachable([few, loose])


def test_chance_constraints_are_checked_by_their_quantiles(table: LatencyTable) -> None:
    """At p = .95 the reachable minimum is the upper end of the fastest one's 90 % interval."""
    both = costs(table)
    fastest = both.reachable("latency_ms@fake")[0]
    low, high = (ends[0] for ends in both.with_intervals(fastest.arch[None])[1]["latency_ms@fake"])
    assert low < fastest.value < high

    def bound(upper: float, probability: float | None) -> Constraint:
        return Constraint(metric="latency_ms", device="fake", upper=upper, probability=probability)

    between = (fastest.value + high) / 2
    both.check_reachable([bound(between, None)])
    both.check_reachable([bound(1.001 * high, 0.95)])
    with pytest.raises(InputError, match=f"with probability 0.95 can't .* {high:.4g}"):
        both.check_reachable([bound(between, 0.95)])
    slowest = both.reachable("latency_ms@fake")[1]
    least = both.with_intervals(slowest.arch[None])[1]["latency_ms@fake"][0][0]
    between = (least + slowest.value) / 2
    slow = Constraint(metric="latency_ms", device="fake", lower=between, probability=0.95)
    with pytest.raises(InputError, match=r"with probability 0.95 can't be met: the maximum"):
        both.check_reachable([slow])


def test_chance_constraints_that_exclude_each_other(table: LatencyTable) -> None:
    both = costs(table)
    big = Constraint(metric="params", lower=both.reachable("params")[1].value)
    archs = SPACE.sample(np.random.default_rng(0), 5000)
    found = both.evaluate(archs)
    largest = found["params"] == found["params"].max()
    limit = 1.000001 * found["latency_ms@fake"][largest].min()
    upper = Constraint(metric="latency_ms", device="fake", upper=limit)
    likely = upper.model_copy(update={"probability": 0.99})
    both.check_reachable([big, upper])
    with pytest.raises(InputError, match=r"and latency_ms@fake <= .* with probability 0.99 can't"):
        both.check_reachable([big, likely])


def test_a_table_without_intervals_is_told_of(table: LatencyTable) -> None:
    bare = costs(replace(table, networks=()))
    bound = Constraint(metric="latency_ms", device="fake", upper=1, probability=0.9)
    with pytest.raises(InputError, match=r"latency_ms@fake: .* no interval.* nas profile"):
        bare.check_known([bound])
    costs(table).check_known([bound])
