import numpy as np
import pytest
from pydantic import ValidationError

from nas.config.loader import parse
from nas.config.schema import Experiment
from nas.plan import plan
from nas.workbench import Workbench

_EXPERIMENT = {
    "name": "small",
    "space": {"type": "nasbench_macro", "resolution": [8], "channels": 1, "classes": 10},
    "data": {"type": "digits"},
    "supernet": {"epochs": 1},
    "devices": ["cpu"],
    "objectives": [{"metric": "accuracy"}],
}


def _experiment(**accuracy):
    return parse({**_EXPERIMENT, "predictors": {"accuracy": accuracy}})


def test_proxies_are_made_of_the_runs_own_images(tmp_path):
    experiment = _experiment(zero_cost=["synflow", "naswot"])
    assert isinstance(experiment, Experiment)
    extra = Workbench(experiment, tmp_path).extra_features["extra"]
    assert extra.names == ("synflow", "naswot")
    assert extra._images.shape == (32, 8, 8, 1)
    assert abs(np.mean(extra._images)) < 0.2
    plain = _experiment()
    assert isinstance(plain, Experiment)
    assert Workbench(plain, tmp_path).extra_features == {}


def test_the_plan_says_what_proxies_cost():
    experiment = _experiment(zero_cost=["synflow", "naswot"])
    assert isinstance(experiment, Experiment)
    planned = plan(experiment)
    assert planned.untrained == 6561  # less than 300 labels and twice 5,000 estimates
    assert planned.proxy_hours == pytest.approx(6561 * 2 * 0.25 / 3600)
    assert [line for line in planned.lines() if "zero_cost: up to 6561 networks" in line]
    plain = _experiment()
    assert isinstance(plain, Experiment)
    assert not [line for line in plan(plain).lines() if "zero_cost" in line]


def test_predictors_of_choices_alone_take_no_proxies():
    with pytest.raises(ValidationError, match="ridge sees choices only"):
        _experiment(type="ridge", zero_cost=["snip"])


def test_only_networks_have_a_loss():
    with pytest.raises(ValidationError, match="auto has none") as error:
        _experiment(loss="pairwise", pretrain=True)
    assert error.value.error_count() == 2
    with pytest.raises(ValidationError, match="mlp_ensemble has none"):
        _experiment(type="mlp_ensemble", pretrain=True)
    experiment = _experiment(type="graph_transformer", loss="pairwise")
    assert isinstance(experiment, Experiment)
    assert experiment.predictors.accuracy.training == {"loss": "pairwise"}
