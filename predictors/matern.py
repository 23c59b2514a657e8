"""A Gaussian process with a Matérn kernel whose length scales are those of groups of features.

Rasmussen & Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, §2.2, §4.2.1 and
§5.4. The covariance of two rows is

    s^2 (1 + sqrt(3) r) exp(-sqrt(3) r) + t^2 <x, x'> + 1,   r^2 = sum over groups |x - x'|^2 / l^2

with noise `v` on the diagonal. The inner product is over the features of some of the groups.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

Matrix = Float64[np.ndarray, "n m"]

# Logarithms of s^2, t^2, v and the length scales are normal with these means and deviation 1:
# labels and features have unit variance (all of a group's together).
_MEANS = np.log([1.0, 0.3, 0.05])
_MOST_STEPS = 60
# Keeps the covariance of labels without noise invertible.
_LEAST_NOISE = 1e-4
_ROOT_3 = 3**0.5


@dataclass(frozen=True)
class Hyperparameters:
    """What the covariance depends on.

    Args:
        signal: variance of the Matérn part.
        slope: variance of the linear part's weights.
        noise: variance of the noise.
        inverse: of each group, the inverse length scale.
    """

    signal: float
    slope: float
    noise: float
    inverse: Float64[np.ndarray, " g"]


def covariance(
    h: Hyperparameters,
    a: Float[np.ndarray, "n f"],
    b: Float[np.ndarray, "m f"],
    groups: Int[np.ndarray, " f"],
    linear: Float[np.ndarray, " f"],
) -> Float[np.ndarray, "n m"]:
    """Covariance of rows without noise, in the precision of the rows.

    Args:
        h: the hyper-parameters.
        a: rows of features.
        b: others.
        groups: number of each feature's group.
        linear: 1 for the features of the linear part, 0 for the others.
    """
    scale = h.inverse[groups].astype(a.dtype)
    r = _squared_distances(a * scale[None, :], b * scale[None, :])
    np.sqrt(r, out=r)
    r *= a.dtype.type(_ROOT_3)
    out = np.exp(-r)
    r += 1
    out *= r
    out *= a.dtype.type(h.signal)
    out += (a * (linear * h.slope).astype(a.dtype)[None, :]) @ b.T
    out += 1
    return out


def fit(
    x: Matrix,
    z: Float64[np.ndarray, " n"],
    groups: Int[np.ndarray, " f"],
    linear: Float64[np.ndarray, " f"],
) -> Hyperparameters:
    """The hyper-parameters of largest posterior density, by L-BFGS with exact gradients.

    Args:
        x: features, of unit variance in each group.
        z: labels of zero mean and unit variance.
        groups: number of each feature's group.
        linear: 1 for the features of the linear part, 0 for the others.
    """
    from scipy.optimize import minimize

    n_groups = int(groups.max()) + 1
    squared = [_squared_distances(x[:, groups == g], x[:, groups == g]) for g in range(n_groups)]
    inner = (x * linear[None, :]) @ x.T
    means = np.concatenate([_MEANS, np.zeros(n_groups)])

    def loss(theta: Float64[np.ndarray, " t"]) -> tuple[float, Float64[np.ndarray, " t"]]:
        value, gradient = _evidence(theta, squared, inner, z)
        prior = theta - means
        return value + 0.5 * float(prior @ prior), gradient + prior

    bounds = [(m - 6.0, m + 6.0) for m in means]
    options = {"maxiter": _MOST_STEPS}
    found = minimize(loss, means, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    signal, slope, noise = map(float, np.exp(found.x[:3]))
    return Hyperparameters(signal, slope, noise + _LEAST_NOISE, np.exp(-found.x[3:]))


def _evidence(
    theta: Float64[np.ndarray, " t"], squared: list[Matrix], inner: Matrix, z: np.ndarray
) -> tuple[float, Float64[np.ndarray, " t"]]:
    """Negative logarithm of the marginal likelihood but for a constant, and its gradient."""
    from scipy.linalg import cho_factor, cho_solve

    signal, slope, noise = np.exp(theta[:3])
    weights = np.exp(-2 * theta[3:])
    r = np.sqrt(sum(w * d for w, d in zip(weights, squared, strict=True)))
    decay = np.exp(-_ROOT_3 * r)
    matern = (1 + _ROOT_3 * r) * decay
    eye = np.eye(len(z))
    factor = cho_factor(signal * matern + slope * inner + 1.0 + (noise + _LEAST_NOISE) * eye, True)
    solved, inverse = cho_solve(factor, z), cho_solve(factor, eye)
    value = 0.5 * float(z @ solved) + float(np.log(np.diag(factor[0])).sum())
    pull = inverse - np.outer(solved, solved)
    # d/d(log l) of the Matérn part is 3 s^2 exp(-sqrt(3) r) |x - x'|^2 / l^2.
    pulled = 1.5 * signal * pull * decay
    gradient = [
        0.5 * signal * float(np.vdot(pull, matern)),
        0.5 * slope * float(np.vdot(pull, inner)),
        0.5 * noise * float(np.trace(pull)),
        *(float(w * np.vdot(pulled, d)) for w, d in zip(weights, squared, strict=True)),
    ]
    return value, np.array(gradient)


def _squared_distances(
    a: Float[np.ndarray, "n f"], b: Float[np.ndarray, "m f"]
) -> Float[np.ndarray, "n m"]:
    out = a @ (-2 * b.T)
    out += np.square(a).sum(1)[:, None]
    out += np.square(b).sum(1)[None, :]
    return np.maximum(out, 0, out=out)
