"""A device's latencies without their noise: what its architectures explain of them.

A regression over a source's whole table averages its noise away, and answers for architectures that
the table lacks. Ridge regression takes what is additive, boosted trees take what is left as far as
it holds on networks that they did not see: on some devices latency jumps where tensors stop
fitting a cache. Networks that lie far off, which phones have many of (a few per cent took twice the
time of their like), are brought back to where errors are usual and both are fitted again.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int

from hw_profiles.device import cache_folder
from search_spaces.files import write_bytes

_VERSION = 2
# Pairs of choices are columns of their own where there are no more than so many.
_PAIRS = 1500
_PENALTIES = np.logspace(-1, 3, 9)
# Errors beyond so many robust standard deviations count no more than those there (Huber, "Robust
# Statistics", 1981, §7.8: pseudo-values).
_HUBER, _AGAIN = 2.5, 2
_MEDIAN_TO_STD = 1.4826


def smooth_ms(
    x: Float[np.ndarray, "m f"],
    latency_ms: Float[np.ndarray, " m"],
    pool: Float[np.ndarray, "n f"],
    cached: bool = True,
) -> Float64[np.ndarray, " n"]:
    """A source's latencies as its architectures explain them.

    Args:
        x: features of the source's networks, about 0 to 1: one-hot choices, counts.
        latency_ms: measured on the source; positive.
        pool: the same features of the networks that are asked for.
        cached: keep the result on disk, by the content of all three.

    Returns:
        Latency of each network of the pool, ms.
    """
    if not cached:
        return _smooth_ms(x, latency_ms, pool)
    digest = hashlib.sha256(str((_VERSION, x.shape, pool.shape)).encode())
    for array in (x, latency_ms, pool):
        digest.update(np.ascontiguousarray(array, np.float64).tobytes())
    path = cache_folder() / "smoothed" / f"{digest.hexdigest()[:32]}.f64"
    kept = _kept(path, len(pool))
    if kept is None:
        kept = _smooth_ms(x, latency_ms, pool)
        write_bytes(path, kept.tobytes())
    return kept


def _kept(path: Path, n: int) -> Float64[np.ndarray, " n"] | None:
    try:
        values = np.frombuffer(path.read_bytes(), np.float64)
    except (OSError, ValueError):
        return None
    return values if len(values) == n else None


def _smooth_ms(
    x: Float[np.ndarray, "m f"], latency_ms: Float[np.ndarray, " m"], pool: Float[np.ndarray, "n f"]
) -> Float64[np.ndarray, " n"]:
    y = np.log(latency_ms.astype(np.float64))
    pairs = _pairs(x)
    wide, wide_pool = _with(x, pairs), _with(pool, pairs)
    center = wide.mean(0)[None, :]
    z, z_pool = wide - center, wide_pool - center
    ridge = _Ridge(z)

    def fitted(labels: Float64[np.ndarray, " m"]) -> tuple[np.ndarray, np.ndarray]:
        offset = labels.mean()
        weights = ridge.weights(labels - offset)
        trees = _trees().fit(x, labels - offset - z @ weights)
        both = ((z, x), (z_pool, pool))
        own, asked = (a @ weights + offset + trees.predict(b) for a, b in both)
        return own, asked

    own, asked = fitted(y)
    for _ in range(_AGAIN):
        own, asked = fitted(_brought_back(y, own))
    return np.exp(asked)


def _trees() -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        max_iter=300,
        learning_rate=0.08,
        min_samples_leaf=20,
        early_stopping=True,  # pyright: ignore[reportArgumentType]
        n_iter_no_change=10,
        random_state=0,
    )


def _brought_back(
    y: Float64[np.ndarray, " m"], fitted: Float64[np.ndarray, " m"]
) -> Float64[np.ndarray, " m"]:
    error = y - fitted
    limit = _HUBER * _MEDIAN_TO_STD * float(np.median(np.abs(error)))
    return fitted + np.clip(error, -limit, limit)


def _pairs(x: Float[np.ndarray, "m f"]) -> Int[np.ndarray, "2 p"]:
    """Columns whose products differ from network to network; none where they would be too many."""
    i, j = np.triu_indices(x.shape[1], 1)
    if len(i) > _PAIRS:
        return np.zeros((2, 0), int)
    together = x.T @ x
    return np.stack([i, j])[:, together[i, j] > 0]


def _with(x: Float[np.ndarray, "m f"], pairs: Int[np.ndarray, "2 p"]) -> np.ndarray:
    return np.hstack([x, x[:, pairs[0]] * x[:, pairs[1]]]).astype(np.float64)


class _Ridge:
    """Ridge regression with the penalty of least generalised cross-validation (Golub et al. 1979).

    Args:
        z: centred features; decomposed once for any labels.
    """

    def __init__(self, z: Float64[np.ndarray, "m w"]) -> None:
        self._z = z
        eigenvalues, self._basis = np.linalg.eigh(z.T @ z)
        self._eigenvalues = np.maximum(eigenvalues, 0)

    def weights(self, t: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " w"]:
        """A coefficient a feature, for centred labels."""
        moment = self._basis.T @ (self._z.T @ t)
        best, least = np.zeros_like(moment), np.inf
        for penalty in _PENALTIES:
            shrink = 1 / (self._eigenvalues + penalty)
            explained = (moment**2 * shrink * (2 - self._eigenvalues * shrink)).sum()
            free = max(len(t) - 1 - (self._eigenvalues * shrink).sum(), 1e-6)
            score = (t @ t - explained) / free**2
            if score < least:
                best, least = shrink * moment, score
        return self._basis @ best
