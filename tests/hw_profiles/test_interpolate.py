"""Blocks that were not measured, from those that were: closed forms, cliffs, and honest spreads."""

from collections import Counter

import numpy as np
import pytest
from jaxtyping import Float

from hw_profiles.device import load_device
from hw_profiles.estimate import bind
from hw_profiles.interpolate import interpolate, kind
from hw_profiles.profilers.base import Measurement
from hw_profiles.table import LatencyTable, settings_of
from hw_profiles.worklist import unit_keys
from search_spaces import registry
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count

SPACE = registry.create(
    "mobilenet_v3", resolution=[16, 24, 32], classes=10, kernel=[3, 5], expand=[2, 3, 4, 6]
)
BLOCKS = BlockMap(SPACE)


def _cost_us() -> Float[np.ndarray, " u"]:
    """A processor that computes, moves data, and calls each layer."""
    counts = [count(unit) for unit in BLOCKS.units]
    layers = np.array([len(unit.nodes) for unit in BLOCKS.units])
    work = np.array([c.macs / 2e4 + c.activation_bytes / 4e4 + c.param_bytes / 8e3 for c in counts])
    return work + 0.5 * layers


def _without(hidden: Float[np.ndarray, " u"], value_us: Float[np.ndarray, " u"]) -> np.ndarray:
    return np.where(hidden.astype(bool), np.nan, value_us)


def test_what_was_measured_stays_and_a_smooth_cost_is_found() -> None:
    value_us = _cost_us()
    hidden = np.random.default_rng(0).random(len(value_us)) < 0.25
    found = interpolate(BLOCKS.units, _without(hidden, value_us))
    np.testing.assert_array_equal(found.value_us[~hidden], value_us[~hidden])
    assert not found.spread_us[~hidden].any()
    assert found.interpolated.sum() > 0.5 * hidden.sum()
    error = found.value_us[found.interpolated] / value_us[found.interpolated] - 1
    assert np.abs(error).mean() < 0.05
    assert found.error < 0.05


def test_the_spread_holds_what_it_says_where_costs_are_rough() -> None:
    rng = np.random.default_rng(1)
    value_us = _cost_us() * np.exp(0.1 * rng.standard_normal(len(BLOCKS.units)))
    hidden = rng.random(len(value_us)) < 0.3
    found = interpolate(BLOCKS.units, _without(hidden, value_us))
    there = found.interpolated
    off = np.abs(found.value_us[there] - value_us[there]) / found.spread_us[there]
    assert 0.8 < np.mean(off < 1.645) <= 1
    assert 0.05 < found.error < 0.2


def test_no_step_across_a_cliff() -> None:
    """Blocks whose channels divide otherwise, or with other layers, are left missing."""
    kinds = [kind(unit) for unit in BLOCKS.units]
    alone = kinds[0]
    hidden = np.array([k == alone for k in kinds])
    found = interpolate(BLOCKS.units, _without(hidden, _cost_us()))
    assert np.isnan(found.value_us[hidden]).all()
    assert not found.interpolated.any()


def test_channels_that_divide_otherwise_are_of_another_kind() -> None:
    def kinds(width: int) -> set:
        space = registry.create(
            "mobilenet_v3",
            resolution=[16],
            classes=10,
            widths=[width, 24],
            strides=[1, 2],
            hswish=[False, False],
            squeeze_excite=[False, False],
            expand=[4],
        )
        return {kind(unit) for unit in BlockMap(space).units}

    assert kinds(32) == kinds(48)
    assert kinds(32) != kinds(36)


def test_too_few_measurements_say_nothing() -> None:
    value_us = np.full(len(BLOCKS.units), np.nan)
    value_us[:8] = 1.0
    assert not interpolate(BLOCKS.units, value_us).interpolated.any()


@pytest.fixture(scope="module")
def partial() -> tuple[LatencyTable, np.ndarray]:
    """A table that lacks a few blocks, of kinds of which it has others."""
    device, value_us = load_device("cpu"), _cost_us()
    kinds = Counter(kind(unit) for unit in BLOCKS.units)
    common = np.array([kinds[kind(unit)] >= 8 for unit in BLOCKS.units])
    hidden = common & (np.random.default_rng(2).random(len(value_us)) < 0.15)
    units = {
        key: Measurement(key, float(value), 0.01, 10, "measured")
        for key, value, gone in zip(unit_keys(BLOCKS), value_us, hidden, strict=True)
        if not gone
    }
    return LatencyTable(device.id, settings_of(device), units=units), value_us


def test_estimates_say_what_was_interpolated(partial: tuple[LatencyTable, np.ndarray]) -> None:
    table, value_us = partial
    archs = SPACE.sample(np.random.default_rng(3), 200)
    strict, filled = bind(table, SPACE, BLOCKS), bind(table, SPACE, BLOCKS, True)
    assert len(filled.missing) < len(strict.missing)
    before, after = strict.cost(archs), filled.cost(archs)
    assert not before.interpolated.any()
    whole = np.isfinite(after.mean_ms)
    assert whole.sum() > np.isfinite(before.mean_ms).sum()
    assert np.all((after.measured + after.interpolated)[whole] == pytest.approx(1.0))
    true_ms = BLOCKS.total(value_us, archs[whole]) / 1e3
    np.testing.assert_allclose(after.mean_ms[whole], true_ms, rtol=0.1)
    same = after.interpolated == 0
    np.testing.assert_array_equal(after.mean_ms[same], before.mean_ms[same])
