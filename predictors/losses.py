"""What networks that estimate labels are trained on: the labels, or their order.

All take outputs and labels of a batch, and the weight of each; a weight of 0 hides a label.
Estimates of the two that see order only have no unit: they are calibrated afterwards.

References:
    Burges et al., "Learning to Rank using Gradient Descent", ICML 2005, eq. 3, on all pairs of a
    batch, as Dudziak et al., "BRP-NAS", NeurIPS 2020, §3.2, compare architectures.
    Zheng et al., "DiffKendall: A Novel Approach for Few-Shot Learning with Differentiable Kendall's
    Rank Correlation", NeurIPS 2023, eq. 4.
"""

from collections.abc import Callable, Mapping
from typing import Literal, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from search_spaces.errors import InputError
from search_spaces.named import hint

Loss = Literal["mse", "pairwise", "diffkendall"]
Scalar = Float[Array, ""]
Vector = Float[Array, " n"]

# How soon a pair counts as ordered (alpha in Zheng et al.; labels and outputs of unit variance).
_STEEPNESS = 1.0


def mse(outputs: Float[Array, "n ..."], y: Float[Array, "n ..."], weights: Vector) -> Scalar:
    """Mean squared error."""
    squared = jnp.square(outputs - y).reshape(len(y), -1).mean(1)
    # A batch of hidden labels only must not divide by 0.
    return jnp.sum(weights * squared) / jnp.maximum(jnp.sum(weights), jnp.float32(1))


def pairwise(outputs: Vector, y: Vector, weights: Vector) -> Scalar:
    """Mean of `log(1 + exp(-d))` over pairs with unlike labels, `d` how far they are in order."""
    ahead = _differences(outputs)
    ordered = _differences(y) > 0
    return _mean(jax.nn.softplus(-ahead), weights, ordered)


def diffkendall(outputs: Vector, y: Vector, weights: Vector) -> Scalar:
    """Minus the mean of `tanh(a * d_outputs * d_y)` over all pairs: a smooth Kendall's tau."""
    apart = _differences(y)
    agreement = jnp.tanh(_STEEPNESS * _differences(outputs) * apart)
    return -_mean(agreement, weights, apart != 0)


def check_loss(name: str) -> Loss:
    """The loss of a name.

    Raises:
        InputError: there is none.
    """
    if name not in LOSSES:
        raise InputError(f"loss: there is no {name!r}; {hint(name, LOSSES)}")
    return cast(Loss, name)


def _differences(x: Vector) -> Float[Array, "n n"]:
    return x[:, None] - x[None, :]


def _mean(values: Float[Array, "n n"], weights: Vector, counted: Bool[Array, "n n"]) -> Scalar:
    """Over the pairs that count, weighted with both of a pair."""
    pairs = jnp.where(counted, weights[:, None] * weights[None, :], jnp.float32(0))
    # A batch without any such pair must not divide by 0.
    return jnp.sum(pairs * values) / jnp.maximum(jnp.sum(pairs), jnp.float32(1))


LOSSES: Mapping[str, Callable[..., Scalar]] = {
    "mse": mse,
    "pairwise": pairwise,
    "diffkendall": diffkendall,
}
