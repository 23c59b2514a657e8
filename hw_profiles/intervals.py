"""What central 90 % intervals are made of."""

from math import ceil

import numpy as np
from jaxtyping import Float

# Half-width of the central 90 % interval of a normal distribution, in standard deviations.
Z_90 = 1.6448536269514722


def quantile_90(errors: Float[np.ndarray, " n"]) -> float:
    """What 90 % of new errors stay below, by those that were seen.

    The quantile is that of split conformal prediction, with its correction for few errors (Lei et
    al., "Distribution-Free Predictive Inference for Regression", JASA 2018, §2.2); of fewer than
    nine it is the largest.

    Args:
        errors: without sign, at least one.
    """
    rank = min(len(errors), ceil(0.9 * (len(errors) + 1)))
    return float(np.sort(errors)[rank - 1])
