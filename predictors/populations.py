"""Estimates of very many architectures: in parts that fit the cache, on all cores."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np
from jaxtyping import Int
from threadpoolctl import threadpool_limits

from hw_profiles.provenance import usable_cores
from predictors.base import Prediction
from search_spaces.space import Archs

# Architectures at a time; features of fewer would cost more in calls than in numbers.
_PART = 4096


def in_parts(
    estimate: Callable[[Archs], Prediction], cardinality: Int[np.ndarray, " k"], archs: Archs
) -> Prediction:
    """Estimates of a population.

    Features of a million architectures would fill gigabytes, so each part's are dropped before the
    next; the parts are spread over the cores. Of a space smaller than the population every
    architecture is estimated once.

    Args:
        estimate: of a few thousand architectures; called from several threads.
        cardinality: number of options of each knob.
        archs: any number of architectures.
    """
    if len(archs) <= _PART:
        return estimate(archs)
    sizes = tuple(map(int, cardinality))
    if prod(sizes) <= len(archs):
        codes = np.ravel_multi_index(tuple(archs.T), sizes)
        _, first, rows = np.unique(codes, return_index=True, return_inverse=True)
        found = _spread(estimate, archs[first])
        return Prediction(found.mean[rows], found.std[rows])
    return _spread(estimate, archs)


def _spread(estimate: Callable[[Archs], Prediction], archs: Archs) -> Prediction:
    mean, std = np.empty(len(archs)), np.empty(len(archs))

    def fill(start: int) -> None:
        part = slice(start, start + _PART)
        found = estimate(archs[part])
        mean[part], std[part] = found.mean, found.std

    # Libraries with threads of their own would fight over the cores.
    with threadpool_limits(1), ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(fill, range(0, len(archs), _PART)))
    return Prediction(mean, std)
