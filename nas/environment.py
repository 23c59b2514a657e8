"""Where a run was made: machine and versions, kept in the run's folder."""

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from hw_profiles.provenance import capture

_PACKAGES = ("jax", "jaxlib", "numpy", "flax", "optax", "onnx", "onnxruntime")


def environment() -> dict[str, Any]:
    """Machine, system and versions, JSON-able."""
    machine = asdict(capture(f"jax {version('jax')}", threads=0))
    for key in ("threads", "load_end", "noisy", "drift", "meter"):
        del machine[key]
    return {**machine, "versions": {name: version(name) for name in _PACKAGES}}
