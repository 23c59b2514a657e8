"""Blocks that were never measured, estimated from those that were: only where that is defensible.

A Gaussian process on the shapes of blocks, in the logarithm of the cost, with a linear trend. Its
error is that of leaving each measured block out (Rasmussen & Williams 2006, section 5.4.2), and the
spread is scaled until it agrees with that error.

Runtimes change their code with the operations and with how channels divide their vectors: costs
jump there, and nothing between the shapes tells by how much. So a block is interpolated only from
measured ones of its own kind: the same operations in the same order, and the same divisibility of
every layer's channels.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log, prod
from typing import Any, cast
from warnings import catch_warnings, simplefilter

import numpy as np
from jaxtyping import Bool, Float

from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph
from search_spaces.ir.ops import macs

# Channels by which the vectors and the blocked layouts of runtimes divide.
_VECTORS = (16, 8, 4)
# Measured blocks below which nothing is said: in all, and of the same kind.
_FEWEST, _FEWEST_OF_KIND = 12, 3
# Blocks from which the kernel's parameters are learnt; their number enters by its cube.
_HYPER = 128

Kind = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Interpolation:
    """What is said of the blocks of a space.

    Args:
        value_us: as measured, or interpolated; NaN where neither.
        spread_us: standard deviation of what was interpolated; 0 elsewhere.
        interpolated: which were.
        error: mean relative error of measured blocks left out, of the kinds that were used; NaN
            where nothing was interpolated.
    """

    value_us: Float[np.ndarray, " u"]
    spread_us: Float[np.ndarray, " u"]
    interpolated: Bool[np.ndarray, " u"]
    error: float


def nothing(value_us: Float[np.ndarray, " u"]) -> Interpolation:
    """The measured values as they are."""
    none = np.zeros(len(value_us))
    return Interpolation(value_us, none, none.astype(bool), float("nan"))


def interpolate(units: Sequence[Graph], value_us: Float[np.ndarray, " u"]) -> Interpolation:
    """Fill in what can be interpolated; the rest stays NaN.

    Args:
        units: the blocks.
        value_us: their measured costs, NaN where there is none.
    """
    kinds = [kind(unit) for unit in units]
    known = np.nan_to_num(value_us) > 0
    counted = Counter(k for k, there in zip(kinds, known, strict=True) if there)
    wanted = np.array(
        [
            np.isnan(v) and counted[k] >= _FEWEST_OF_KIND
            for k, v in zip(kinds, value_us, strict=True)
        ]
    )
    if known.sum() < _FEWEST or not wanted.any():
        return nothing(value_us)
    x = np.array([_shape(unit) for unit in units])
    x = (x - x[known].mean(0)) / np.maximum(x[known].std(0), 1e-6)
    left_out, mean, std = _regress(x[known], np.log(value_us[known]), x[wanted])
    used = {k for k, w in zip(kinds, wanted, strict=True) if w}
    alike = np.array([k in used for k, there in zip(kinds, known, strict=True) if there])
    filled, spread_us = value_us.copy(), np.zeros(len(units))
    filled[wanted] = np.exp(mean)
    spread_us[wanted] = filled[wanted] * std
    return Interpolation(filled, spread_us, wanted, float(np.abs(np.expm1(left_out[alike])).mean()))


def kind(unit: Graph) -> Kind:
    """What two blocks must share for one to tell of the other."""
    return tuple(
        (f"{node.op} {node.attrs.get('kind', '')}", _vector(node.out.shape[-1]))
        for node in unit.nodes
    )


def _vector(channels: int) -> int:
    return next((size for size in _VECTORS if channels % size == 0), 1)


def _shape(unit: Graph) -> list[float]:
    """Logarithms of what a block computes, reads and writes, and of its layers' kernels."""
    counts = count(unit)
    read = sum(prod(kind.shape) for kind in unit.inputs.values())
    written = sum(prod(unit.type_of(name).shape) for name in unit.outputs)
    kernels = [float(node.attrs.get("kernel", 1)) for node in unit.nodes]  # pyright: ignore
    depthwise = sum(macs(node) for node in unit.nodes if node.op == "depthwise")
    sizes = (counts.macs, depthwise, counts.params, counts.activation_bytes, read, written)
    return [*(log(1.0 + size) for size in sizes), max(kernels), float(len(unit.nodes))]


def _regress(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, " n"], at: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Residuals of each point left out; mean and standard deviation elsewhere."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel

    trend = ConstantKernel(1.0, (1e-6, 1e4)) * DotProduct(1.0, (1e-3, 1e3))
    bumps = ConstantKernel(0.1, (1e-6, 1e2)) * Matern(2.0, (0.3, 30.0), nu=2.5)
    kernel = trend + bumps + WhiteKernel(1e-4, (1e-7, 1e-1))
    centre = y.mean()
    some = np.random.default_rng(0).permutation(len(y))[:_HYPER]
    with catch_warnings():
        # A bound is a sensible answer: no trend, or no bumps.
        simplefilter("ignore", ConvergenceWarning)
        fitted = GaussianProcessRegressor(kernel, random_state=0).fit(x[some], y[some] - centre)
    learnt: Any = fitted.kernel_
    process = GaussianProcessRegressor(learnt, optimizer=cast(Any, None)).fit(x, y - centre)
    inverse = np.linalg.inv(learnt(x))
    left_out = inverse @ (y - centre) / np.diag(inverse)
    scale = np.sqrt(np.mean(left_out**2 * np.diag(inverse)))
    predicted: Any = process.predict(at, return_std=True)
    mean, std = predicted
    return left_out, mean + centre, std * max(float(scale), 1.0)
