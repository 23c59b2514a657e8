"""Bounds on three devices cost the search stage much less than three times one on one device."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks.many_devices import SPACE, make_devices, write_experiment
from hw_profiles.device import load_device
from hw_profiles.estimate import BoundTable
from hw_profiles.table import open_table
from nas.config import load, to_yaml
from nas.config.schema import SpaceConfig
from nas.costs import Costs
from nas.explore import Explorer
from nas.log import Log
from nas.store import RunStore
from predictors.base import Predictor
from predictors.registry import create
from search_spaces.ir.blocks import BlockMap
from search_spaces.space import SearchSpace

_EVALUATIONS = 1500


@pytest.mark.exhaustive
def test_the_search_stage(tmp_path: Path) -> None:
    """CPU time in turns; the benchmark times whole runs."""
    bounds = make_devices(tmp_path, 3)
    space = SpaceConfig.model_validate(SPACE).create()
    blocks = BlockMap(space)
    tables = {name: open_table(load_device(name)).bind(space, blocks) for name in bounds}
    predictor = fitted(space, blocks)
    for n in (1, 3):
        write_experiment(tmp_path / f"{n}.yaml", bounds, "bounds", n, _EVALUATIONS)
    seconds: dict[int, list[float]] = {1: [], 3: []}
    for turn in range(3):
        for n, each in seconds.items():
            each.append(stage(tmp_path, n, tables, blocks, predictor, turn))
    assert np.median(np.divide(seconds[3], seconds[1])) < 1.6, seconds


def fitted(space: SearchSpace, blocks: BlockMap) -> Predictor:
    """Ridge regression, the cheapest, on labels made up here."""
    macs = {"macs": lambda archs: blocks.total(blocks.macs, archs)}
    predictor = create("ridge", space, 0, holdout=0.2, **macs)
    archs = np.unique(space.sample(np.random.default_rng(0), 60), axis=0)
    predictor.fit(archs, 1 / (1 + np.exp(2 - archs.mean(axis=1))))
    return predictor


def stage(
    folder: Path,
    n: int,
    tables: Mapping[str, BoundTable],
    blocks: BlockMap,
    predictor: Predictor,
    turn: int,
) -> float:
    """CPU seconds of the search and of random search beside it."""
    experiment = load(folder / f"{n}.yaml")
    costs = Costs(blocks, dict(list(tables.items())[:n]))
    store = RunStore.create(folder / f"run{n}_{turn}", "", to_yaml(experiment), {})
    with store, Log(store.log_path) as log:
        explorer = Explorer(experiment, costs, predictor, store, log)
        began = time.process_time()
        explorer.run("nsga2", "search")
        explorer.run("random", "random")
        assert explorer.facts()["evaluations"] == _EVALUATIONS
        return time.process_time() - began
