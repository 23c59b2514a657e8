"""Many small networks trained at once: one program, vmapped over the members."""

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import jax
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Float32, Int

from predictors.losses import LOSSES, Loss

# Labels are padded to one of these numbers, so that a new one seldom means a new program.
_BUCKETS = (128, 512, 1024, 4096)


@dataclass(frozen=True)
class Schedule:
    """How a member is trained.

    Args:
        steps: optimiser steps.
        batch: labels a step.
        learning_rate: of AdamW at the start; a cosine takes it to 0.
        weight_decay: of AdamW, times the learning rate.
        loss: what is made small.
    """

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    loss: Loss = "mse"


def train(
    network: nn.Module,
    inputs: Any,
    y: Float32[np.ndarray, "n ..."],
    weights: Float32[np.ndarray, "m n"],
    schedule: Schedule,
    seed: int,
    start: Any = None,
) -> Any:
    """Train one member per row of weights, each from its own initial parameters.

    Args:
        network: gives a number (or `k`) for each row of its inputs.
        inputs: arrays with a row a label.
        y: labels, standardised.
        weights: of each label for each member; 0 hides the label from the member.
        schedule: of the optimiser.
        seed: of initial parameters and batches.
        start: initial parameters of the members instead, stacked on the first axis.

    Returns:
        The members' parameters, stacked on the first axis.
    """
    rng, n = np.random.default_rng(seed), len(y)
    drawn = schedule.steps * schedule.batch
    epochs = [rng.permutation(n) for _ in range(-(-drawn // n))]
    batches = np.concatenate(epochs)[:drawn].reshape(schedule.steps, schedule.batch)
    rows = _bucket(n)
    padded = jax.tree.map(lambda leaf: _pad(leaf, rows), inputs)
    if start is None:
        start = initial(network, inputs, len(weights), seed)
    return _train(
        start,
        padded,
        _pad(y, rows),
        _pad(weights.T, rows).T,
        batches.astype(np.int32),
        network,
        schedule,
    )


def initial(network: nn.Module, inputs: Any, members: int, seed: int) -> Any:
    """Initial parameters of the members, stacked on the first axis."""
    keys = jax.random.split(jax.random.key(seed), members)
    return _initial(keys, jax.tree.map(lambda leaf: leaf[:1], inputs), network)


@partial(jax.jit, static_argnames="network")
def _initial(keys: Array, row: Any, network: nn.Module) -> Any:
    return jax.vmap(lambda key: network.init(key, row))(keys)


@partial(jax.jit, static_argnames=("network", "schedule"))
def _train(
    start: Any,
    inputs: Any,
    y: Float[Array, "n ..."],
    weights: Float[Array, "m n"],
    batches: Int[Array, "steps batch"],
    network: nn.Module,
    schedule: Schedule,
) -> Any:
    rates = optax.cosine_decay_schedule(schedule.learning_rate, schedule.steps)
    optimiser = optax.adamw(rates, weight_decay=schedule.weight_decay)
    compare = LOSSES[schedule.loss]

    def member(parameters: Any, weight: Float[Array, " n"]) -> Any:
        def step(carry: Any, rows: Int[Array, " batch"]) -> tuple[Any, None]:
            parameters, state = carry
            batch = jax.tree.map(lambda leaf: leaf[rows], inputs)

            def loss(parameters: Any) -> Float[Array, ""]:
                return compare(cast(Array, network.apply(parameters, batch)), y[rows], weight[rows])

            gradient = jax.grad(loss)(parameters)
            # optax raises floats to an integer step count.
            with jax.numpy_dtype_promotion("standard"):
                change, state = optimiser.update(gradient, state, parameters)
            return (optax.apply_updates(parameters, change), state), None

        return jax.lax.scan(step, (parameters, optimiser.init(parameters)), batches)[0][0]

    return jax.vmap(member)(start, weights)


def _bucket(n: int) -> int:
    """Smallest bucket that holds `n` rows; multiples of the largest above it."""
    fitting = [size for size in _BUCKETS if size >= n]
    return fitting[0] if fitting else -(-n // _BUCKETS[-1]) * _BUCKETS[-1]


def _pad(rows: Float32[np.ndarray, "n ..."], n: int) -> Float32[np.ndarray, "padded ..."]:
    return np.concatenate([rows, np.zeros((n - len(rows), *rows.shape[1:]), rows.dtype)])
