"""Weights for networks that are timed or planned without being trained."""

import numpy as np

from search_spaces.ir.graph import Graph, ParamSpec

_DRAW = 4099


def random_params(graph: Graph, rng: np.random.Generator) -> dict[str, dict[str, np.ndarray]]:
    """Weights of a size that keeps activations away from overflow and from denormals.

    Large tensors repeat a short draw: drawing a network's weights takes longer than loading it.
    Each begins elsewhere in it, so that no compiler takes two of them for one.
    """
    draw = rng.standard_normal(_DRAW, np.float32)

    def weights(spec: ParamSpec) -> np.ndarray:
        begun = np.roll(draw, int(rng.integers(_DRAW)))
        return np.resize(begun * np.float32(spec.fan_in**-0.5), spec.shape)

    return {
        node.name: {name: weights(spec) for name, spec in node.params.items()}
        for node in graph.nodes
        if node.params
    }
