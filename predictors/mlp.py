"""Many small networks on rows of features, evaluated at once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Float32

from predictors import ensembles
from predictors.ensembles import Schedule
from predictors.losses import Loss

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
    loss: Loss = "mse",
) -> Any:
    """Train one member per row of weights, each from its own initial parameters.

    Args:
        x: features, centred.
        y: labels, standardised.
        weights: of each label for each member; 0 hides the label from the member.
        training: sizes and schedule.
        seed: of initial parameters and batches.
        loss: what is made small.

    Returns:
        The members' parameters, stacked on the first axis.
    """
    schedule = Schedule(
        training.steps, training.batch, training.learning_rate, training.weight_decay, loss
    )
    network = MLP(training.hidden, training.depth)
    return ensembles.train(network, x, y, weights, schedule, seed)


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
