from functools import partial

import numpy as np
import pytest

from nas.testing.predictor_suite import SPACE
from predictors import registry
from predictors.cross_validation import cross_validate, unseen
from predictors.labels import folds, group
from search_spaces.errors import InputError


def test_every_label_is_estimated_by_a_model_that_did_not_see_it():
    archs = SPACE.sample(np.random.default_rng(0), 60)
    y = SPACE.metric(archs)
    create = {
        "ridge": partial(registry.create, "ridge", SPACE, macs=SPACE.macs),
        "macs": partial(registry.create, "macs", SPACE, macs=SPACE.macs),
    }
    told = []
    judged = cross_validate(create, archs, y, 4, seed=1, watch=lambda *seen: told.append(seen))
    assert told == [(name, i) for name in create for i in range(4)]
    fold = folds(group(SPACE.onehot(archs)), 4, 1)
    mean = np.empty(60)
    for i in range(4):
        out = np.flatnonzero(fold == i)
        mean[out], _ = unseen(create["ridge"](), archs, y, np.flatnonzero(fold != i), out)
    error = np.sqrt(np.mean((mean - y) ** 2))
    assert judged["ridge"].scores.rmse == pytest.approx(error)
    assert judged["macs"].scores.kendall > 0.5


def test_too_many_folds_are_refused():
    archs = SPACE.sample(np.random.default_rng(0), 20)
    make = {"ridge": partial(registry.create, "ridge", SPACE)}
    with pytest.raises(InputError, match="folds: must lie between 2 and half"):
        cross_validate(make, archs, SPACE.metric(archs), 15)
