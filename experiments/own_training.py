"""A training script that hwnas searches without knowing what it does: choices in, metrics out.

    nas run experiments/own_training.yaml

Any other can stand in its place: one that slices a super-network of yours and tests the part, one
that starts a training on another machine and waits for it. What `evaluate` returns is kept in the
run's folder before the search goes on, so a run that was stopped asks for nothing twice.
"""

import warnings
from functools import lru_cache
from typing import Any

import numpy as np


@lru_cache(maxsize=1)
def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits, 8x8."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.asarray(images) / 16.0, np.asarray(labels)


def evaluate(arch: dict[str, Any]) -> dict[str, float]:
    """Train a network as it is described and test it on a third of the digits.

    Args:
        arch: the choices of `own_training.yaml` that this architecture makes: `width3` is only
            there where it has three layers.

    Returns:
        the metrics that the file names, and what else is worth keeping.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    images, labels = digits()
    test = np.arange(len(images)) % 3 == 0
    widths = [arch[f"width{i}"] for i in range(1, arch["layers"] + 1)]
    network = MLPClassifier(
        widths, activation=arch["activation"], max_iter=25, learning_rate_init=0.01, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(images[~test], labels[~test])
    parameters = sum(w.size for w in network.coefs_) + sum(b.size for b in network.intercepts_)
    return {
        "accuracy": float(network.score(images[test], labels[test])),
        "parameters": float(parameters),
        "train_loss": float(network.loss_),
    }
