"""What a sum of blocks misses, fitted on whole networks, with an interval for every estimate.

A network is not exactly the sum of its blocks: caches are colder than in a chain, a call has a
cost. Small linear models of the sum are fitted in relative least squares; the simplest whose
leave-one-out error is close to the best is taken. The interval is conformal: a quantile of the
leave-one-out relative errors (Barber et al. 2021, "Predictive inference with the jackknife+").
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from hw_profiles.intervals import quantile_90

# Columns: the sum of the units' values, the number of blocks, 1, million MACs.
_COLUMNS = ("sum_us", "blocks", "constant", "mega_macs")
_MODELS = ((0,), (0, 1), (0, 2), (0, 1, 2), (0, 1, 2, 3))
# Networks needed for each fitted coefficient.
_PER_COEFFICIENT = 5
# A model has to be this much better than a simpler one.
_GAIN = 0.95

Features = Float[np.ndarray, "n 4"]


@dataclass(frozen=True, slots=True)
class Correction:
    """`latency_us = scale * sum + per_block * blocks + constant + per_mega_mac * MACs / 1e6`.

    Args:
        scale: factor of the sum of blocks.
        per_block_us: added for each block.
        constant_us: added once.
        per_mega_mac_us: added for each million multiply-accumulates.
        interval: relative half-width that held 90 % of the networks left out; NaN if unknown. A
            table's is wider by how its sessions differ.
        error: mean absolute relative error of the networks left out; NaN if unknown.
        n: networks behind it.
    """

    scale: float = 1.0
    per_block_us: float = 0.0
    constant_us: float = 0.0
    per_mega_mac_us: float = 0.0
    interval: float = float("nan")
    error: float = float("nan")
    n: int = 0

    def per_unit(
        self, value_us: Float[np.ndarray, " u"], macs: Int[np.ndarray, " u"]
    ) -> Float[np.ndarray, " u"]:
        """What each unit adds to a network's latency, everything but the constant."""
        return self.scale * value_us + self.per_block_us + self.per_mega_mac_us * (macs / 1e6)


def features(
    sum_us: Float[np.ndarray, " n"], blocks: Int[np.ndarray, " n"], macs: Int[np.ndarray, " n"]
) -> Features:
    """The columns that `fit` reads."""
    return np.stack([sum_us, blocks.astype(float), np.ones(len(sum_us)), macs / 1e6], 1)


def fit(x: Features, y_us: Float[np.ndarray, " n"]) -> Correction:
    """Correction from whole networks; without any the sum stays as it is, its interval unknown.

    Args:
        x: as `features` gives them.
        y_us: measured latency.
    """
    n = len(y_us)
    if n == 0:
        return Correction()
    best = _MODELS[0]
    left_out = {model: _left_out(x[:, model], y_us) for model in _MODELS if _enough(model, n)}
    for model, errors in left_out.items():
        if np.abs(errors).mean() < _GAIN * np.abs(left_out[best]).mean():
            best = model
    errors = np.abs(left_out[best])
    coefficients = np.zeros(len(_COLUMNS))
    coefficients[list(best)] = _solve(x[:, best], y_us)
    interval = quantile_90(errors) if n > 1 else float("nan")
    scale, per_block, constant, per_mega_mac = map(float, coefficients)
    error = float(errors.mean())
    return Correction(scale, per_block, constant, per_mega_mac, interval, error, n)


def _enough(model: tuple[int, ...], n: int) -> bool:
    return len(model) == 1 or n >= _PER_COEFFICIENT * len(model)


def _solve(x: Float[np.ndarray, "n c"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " c"]:
    return np.linalg.lstsq(x / y[:, None], np.ones(len(y)), rcond=None)[0]


def _left_out(x: Float[np.ndarray, "n c"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Relative error of each network in the fit to all others, as measured over estimated - 1."""
    if len(y) == 1:
        return y / (x @ _solve(x, y)) - 1
    out = np.empty(len(y))
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        out[i] = y[i] / (x[i] @ _solve(x[others], y[others])) - 1
    return out
