"""How a machine stands to the hour in which its table was measured.

In another session all networks come out slower or faster by about the same factor, which nothing
within a session shows. So networks of a table are timed again later on, and what they tell widens
the interval of every estimate.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

# Fewer networks than these say more of themselves than of the machine.
_FEWEST, _MOST = 3, 5


def anchors(value_us: Float[np.ndarray, " n"]) -> list[int]:
    """Which networks to time again: a few from the fastest to the slowest, or none of too few."""
    if len(value_us) < _FEWEST:
        return []
    places = np.linspace(0, len(value_us) - 1, min(_MOST, len(value_us))).round().astype(int)
    return np.argsort(value_us, kind="stable")[places].tolist()


def shift(then_us: Float[np.ndarray, " n"], now_us: Float[np.ndarray, " n"]) -> float | None:
    """How much longer the same networks take than then (0.02 for 2 %); None of too few."""
    return float(np.median(now_us / then_us)) - 1 if len(then_us) >= _FEWEST else None


def half_width(shifts: Sequence[float]) -> float:
    """Relative half-width in which a session lies with a probability of 90 %.

    Shifts of later sessions, among them the next one's, are taken to be draws of one normal
    distribution around zero; its width is known from `shifts` alone, hence Student's quantile.

    Args:
        shifts: of each later session; from none of them nothing follows, and it is 0.
    """
    from scipy.special import stdtrit

    if not shifts:
        return 0.0
    # With one degree of freedom the quantile is 6.3: nothing but a guess.
    return float(stdtrit(max(2, len(shifts)), 0.95) * np.sqrt(np.mean(np.square(shifts))))
