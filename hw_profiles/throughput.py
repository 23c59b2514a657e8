"""How many images a second a device takes at a batch size, all over a space."""

import numpy as np

from hw_profiles.estimate import BoundTable

_DRAWN = 1000


def images_per_s(bound: BoundTable, batch: int, seed: int = 0) -> dict[str, float]:
    """Estimates for the smallest network, the median of random ones, and the largest.

    Args:
        bound: a table that was measured at that batch size.
        batch: images per inference.
        seed: of the draws.
    """
    space = bound.space
    ends = np.stack([space.smallest(), space.largest()])
    smallest_ms, largest_ms = bound.cost(space.canonical(ends)).mean_ms
    drawn = space.sample(np.random.default_rng(seed), _DRAWN)
    found_ms = {
        "smallest": smallest_ms,
        "median": np.median(bound.cost(drawn).mean_ms),
        "largest": largest_ms,
    }
    return {name: float(batch * 1e3 / ms) for name, ms in found_ms.items()}
