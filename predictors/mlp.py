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

# Labels are padded to one of these numbers, so that a new one seldom means a new program.
_BUCKETS = (128, 512, 1024, 4096)
# Rows that are evaluated at a time: what is between two layers stays in the cache.
_CHUNK = 512


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


class Members:
    """The members made ready to be evaluated together, a product of matrices for each layer.

    NumPy is faster here than a compiled program: for few rows by far, and never slower.

    Args:
        parameters: of the members, stacked on the first axis.
        center: what the members' features are centred by; the rows to evaluate are not.
    """

    def __init__(self, parameters: Any, center: Float[np.ndarray, " f"]) -> None:
        layers = [parameters["params"][f"Dense_{i}"] for i in range(len(parameters["params"]))]
        kernels = [np.asarray(layer["kernel"], np.float64) for layer in layers]
        biases = [np.asarray(layer["bias"], np.float64)[:, None, :] for layer in layers]
        biases[0] = biases[0] - center[None, None, :] @ kernels[0]
        # SiLU(2 z) = z + z tanh z: halved, hidden layers need no factor.
        half = [0.5] * (len(layers) - 1) + [1.0]
        self._kernels = [(h * k).astype(np.float32) for h, k in zip(half, kernels, strict=True)]
        self._biases = [(h * b).astype(np.float32) for h, b in zip(half, biases, strict=True)]
        self._shape = self._kernels[0].shape
        # All members read the same features.
        self._first = np.concatenate(self._kernels[0], axis=1)

    def evaluate(self, x: Float32[np.ndarray, "n f"]) -> Float32[np.ndarray, "m n"]:
        """Outputs of all members for any number of rows."""
        out = np.empty((self._shape[0], len(x)), np.float32)
        for start in range(0, len(x), _CHUNK):
            rows = slice(start, start + _CHUNK)
            out[:, rows] = self._chunk(x[rows])
        return out

    def _chunk(self, x: Float32[np.ndarray, "n f"]) -> Float32[np.ndarray, "m n"]:
        members, _, units = self._shape
        z = (x @ self._first).reshape(len(x), members, units).transpose(1, 0, 2)
        z += self._biases[0]
        for kernel, bias in zip(self._kernels[1:], self._biases[1:], strict=True):
            active = np.tanh(z)
            active += np.float32(1)
            active *= z
            z = active @ kernel
            z += bias
        return z[:, :, 0]


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


def _output(network: MLP, parameters: Any, x: Float[Array, "n f"]) -> Float[Array, " n"]:
    return cast(Array, network.apply(parameters, x))


def _bucket(n: int) -> int:
    """Smallest bucket that holds `n` rows; multiples of the largest above it."""
    fitting = [size for size in _BUCKETS if size >= n]
    return fitting[0] if fitting else -(-n // _BUCKETS[-1]) * _BUCKETS[-1]


def _pad(rows: Float32[np.ndarray, "n ..."], n: int) -> Float32[np.ndarray, "padded ..."]:
    return np.concatenate([rows, np.zeros((n - len(rows), *rows.shape[1:]), rows.dtype)])
