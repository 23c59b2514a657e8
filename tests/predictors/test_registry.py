import json

import numpy as np
import pytest

from nas.testing.predictor_suite import SPACE
from predictors import registry
from predictors.base import Predictor
from predictors.storage import ARRAYS, DESCRIPTION
from search_spaces.errors import InputError


@pytest.mark.parametrize("name", registry.names())
def test_every_name_makes_a_predictor(name):
    assert isinstance(registry.create(name, SPACE), Predictor)


def test_a_typo_in_the_name_or_a_key_gets_a_hint():
    with pytest.raises(InputError, match="did you mean 'ridge'"):
        registry.create("rigde", SPACE)
    with pytest.raises(InputError, match="did you mean 'holdout'"):
        registry.create("ridge", SPACE, houldout=0.1)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("ridge", {"holdout": 1.0}, "holdout"),
        ("mlp_ensemble", {"members": 1}, "at least 2"),
        ("mlp_ensemble", {"loss": "hinge"}, "loss: there is no .hinge."),
        ("graph_transformer", {"loss": "diffkendal"}, "did you mean .diffkendall."),
    ],
)
def test_parameters_out_of_range_are_refused(name, parameters, message):
    with pytest.raises(InputError, match=message):
        registry.create(name, SPACE, **parameters)


def test_macs_without_macs_say_what_is_missing():
    archs = SPACE.sample(np.random.default_rng(0), 30)
    with pytest.raises(InputError, match="macs="):
        registry.create("macs", SPACE).fit(archs, SPACE.metric(archs))


def test_report_has_the_baselines_beside_the_model():
    archs = SPACE.sample(np.random.default_rng(0), 100)
    with_macs = registry.create("ridge", SPACE, macs=SPACE.macs).fit(archs, SPACE.metric(archs))
    without = registry.create("ridge", SPACE).fit(archs, SPACE.metric(archs))
    assert with_macs.model == with_macs.ridge == without.ridge
    assert with_macs.macs is not None
    assert with_macs.macs.rmse != with_macs.ridge.rmse
    assert without.macs is None
    stored = json.loads(json.dumps(with_macs.to_dict()))
    assert stored["macs"]["kendall"] == with_macs.macs.kendall
    low, high = stored["model"]["intervals"]["kendall"]
    assert low <= with_macs.model.kendall <= high
    rows = np.array(stored["held_out"]["rows"])
    assert stored["held_out"]["label"] == SPACE.metric(archs)[rows].tolist()
    assert with_macs.n_train + with_macs.n_test == 100
    lines = with_macs.table().splitlines()
    assert [line.split()[0] for line in lines if line.split()[0] in with_macs.judged] == [
        "model", "ridge", "macs",
    ]  # fmt: skip
    assert "kendall of model over macs: " in with_macs.table()
    assert "macs" not in without.table()


def test_learning_is_fitting_without_the_test():
    archs = SPACE.sample(np.random.default_rng(0), 60)
    tested, learned = (registry.create("ridge", SPACE) for _ in range(2))
    tested.fit(archs, SPACE.metric(archs))
    learned.learn(archs, SPACE.metric(archs))
    assert np.array_equal(learned.predict(archs).mean, tested.predict(archs).mean)


def test_predicting_before_fitting_is_a_mistake_of_the_caller():
    with pytest.raises(RuntimeError, match="fit or load"):
        registry.create("ridge", SPACE).predict(SPACE.sample(np.random.default_rng(0), 3))


@pytest.fixture
def saved(tmp_path):
    archs = SPACE.sample(np.random.default_rng(0), 30)
    predictor = registry.create("ridge", SPACE)
    predictor.fit(archs, SPACE.metric(archs))
    predictor.save(tmp_path / "a" / "b")
    return tmp_path / "a" / "b"


def test_a_folder_of_another_type_is_refused(saved):
    with pytest.raises(InputError, match="type is 'ridge', expected 'macs'"):
        registry.create("macs", SPACE, macs=SPACE.macs).load(saved)


def test_a_newer_format_is_refused(saved):
    description = json.loads((saved / DESCRIPTION).read_text())
    (saved / DESCRIPTION).write_text(json.dumps({**description, "format": 2}))
    with pytest.raises(InputError, match="format 2, this version reads 1"):
        registry.load(saved, SPACE)


def test_arrays_of_another_fit_are_refused(saved):
    data = (saved / ARRAYS).read_bytes()
    archs = SPACE.sample(np.random.default_rng(1), 30)
    predictor = registry.create("ridge", SPACE)
    predictor.fit(archs, SPACE.metric(archs))
    predictor.save(saved)
    (saved / ARRAYS).write_bytes(data)
    with pytest.raises(InputError, match="checksum"):
        registry.load(saved, SPACE)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=DESCRIPTION):
        registry.load(tmp_path, SPACE)
