"""Many small networks trained and evaluated at once: one program, vmapped over the members."""

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Float32, Int

# Rows are padded to one of these, so that a new number of them seldom means a new program. Chunks
# above the largest would leave the cache.
_BUCKETS = (128, 512, 1024, 4096)


@dataclass(frozen=True)
class Training:
    """How a member is built and trained.

    Args:
        hidden: units of each hidden layer.
        depth: number of hidden layers.
        steps: optimiser steps.
        batch: labels a step.
        learning_rate: of AdamW at the start; a cosine takes it to 0.
        weight_decay: of AdamW, times the learning rate.
    """

    hidden: int = 64
    depth: int = 2
    steps: int = 300
    batch: int = 128
    learning_rate: float = 5e-3
    weight_decay: float = 1.0


class MLP(nn.Module):
    """Hidden layers with SiLU, one output."""

    hidden: int
    depth: int

    @nn.compact
    def __call__(self, x: Float[Array, "n f"]) -> Float[Array, " n"]:
        """A number a row."""
        for _ in range(self.depth):
            x = nn.silu(nn.Dense(self.hidden)(x))
        return nn.Dense(1)(x)[:, 0]


def train(
    x: Float32[np.ndarray, "n f"],
    y: Float32[np.ndarray, " n"],
    weights: Float32[np.ndarray, "m n"],
    training: Training,
    seed: int,
) -> Any:
    """Train one member per row of weights, each from its own initial parameters.

    Args:
        x: features, centred.
        y: labels, standardised.
        weights: of each label for each member; 0 hides the label from the member.
        training: sizes and schedule.
        seed: of initial parameters and batches.

    Returns:
        The members' parameters, stacked on the first axis.
    """
    rng, n = np.random.default_rng(seed), len(x)
    drawn = training.steps * training.batch
    epochs = [rng.permutation(n) for _ in range(-(-drawn // n))]
    batches = np.concatenate(epochs)[:drawn].reshape(training.steps, training.batch)
    keys = jax.random.split(jax.random.key(seed), len(weights))
    rows = _bucket(n)
    return _train(
        keys,
        _pad(x, rows),
        _pad(y, rows),
        _pad(weights.T, rows).T,
        batches.astype(np.int32),
        training,
    )


def evaluate(
    parameters: Any, x: Float32[np.ndarray, "n f"], training: Training
) -> Float32[np.ndarray, "m n"]:
    """Outputs of all members for any number of rows."""
    size = _BUCKETS[-1]
    parts = []
    for start in range(0, len(x), size):
        chunk = x[start : start + size]
        out = _apply(parameters, _pad(chunk, _bucket(len(chunk))), training)
        parts.append(np.asarray(out)[:, : len(chunk)])
    if not parts:
        members = len(jax.tree.leaves(parameters)[0])
        return np.zeros((members, 0), np.float32)
    return np.concatenate(parts, axis=1)


@partial(jax.jit, static_argnames="training")
def _train(
    keys: Array,
    x: Float[Array, "n f"],
    y: Float[Array, " n"],
    weights: Float[Array, "m n"],
    batches: Int[Array, "steps batch"],
    training: Training,
) -> Any:
    network = MLP(training.hidden, training.depth)
    schedule = optax.cosine_decay_schedule(training.learning_rate, training.steps)
    optimiser = optax.adamw(schedule, weight_decay=training.weight_decay)

    def member(key: Array, weight: Float[Array, " n"]) -> Any:
        def step(carry: Any, rows: Int[Array, " batch"]) -> tuple[Any, None]:
            parameters, state = carry
            w = weight[rows]

            def loss(parameters: Any) -> Float[Array, ""]:
                error = _output(network, parameters, x[rows]) - y[rows]
                # A batch of hidden labels only must not divide by 0.
                return jnp.sum(w * error**2) / jnp.maximum(jnp.sum(w), jnp.float32(1))

            gradient = jax.grad(loss)(parameters)
            # optax raises floats to an integer step count.
            with jax.numpy_dtype_promotion("standard"):
                change, state = optimiser.update(gradient, state, parameters)
            return (optax.apply_updates(parameters, change), state), None

        parameters = network.init(key, x[:1])
        return jax.lax.scan(step, (parameters, optimiser.init(parameters)), batches)[0][0]

    return jax.vmap(member)(keys, weights)


@partial(jax.jit, static_argnames="training")
def _apply(parameters: Any, x: Float[Array, "n f"], training: Training) -> Float[Array, "m n"]:
    network = MLP(training.hidden, training.depth)
    return jax.vmap(lambda member: _output(network, member, x))(parameters)


def _output(network: MLP, parameters: Any, x: Float[Array, "n f"]) -> Float[Array, " n"]:
    return cast(Array, network.apply(parameters, x))


def _bucket(n: int) -> int:
    """Smallest bucket that holds `n` rows; multiples of the largest above it."""
    fitting = [size for size in _BUCKETS if size >= n]
    return fitting[0] if fitting else -(-n // _BUCKETS[-1]) * _BUCKETS[-1]


def _pad(rows: Float32[np.ndarray, "n ..."], n: int) -> Float32[np.ndarray, "padded ..."]:
    return np.concatenate([rows, np.zeros((n - len(rows), *rows.shape[1:]), rows.dtype)])
