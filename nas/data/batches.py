"""The order in which an epoch visits the training examples."""

import numpy as np
from jaxtyping import Int


def epoch_order(seed: int, epoch: int, n: int, batch: int) -> Int[np.ndarray, "steps batch"]:
    """Numbers of the examples of each step; a remainder that fills no batch is left out.

    It depends on its arguments alone, so a resumed run sees the batches that it would have seen.

    Args:
        seed: the experiment's seed.
        epoch: 0, 1, …
        n: number of examples, at least 1.
        batch: examples a step; with fewer examples than that, one step has all of them.

    Example:
        >>> epoch_order(seed=0, epoch=0, n=10, batch=4).shape
        (2, 4)
    """
    batch = min(batch, n)
    steps = n // batch
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return order[: steps * batch].reshape(steps, batch)
