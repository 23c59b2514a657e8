"""The same operations in PyTorch, channels last: what `kernels.bench --peer torch` compares with.

PyTorch is not a dependency of the project.
"""

# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (what everybody calls it)
from jax import Array

from kernels.inventory import Spec


def peer(
    spec: Spec, operands: tuple[Array, ...]
) -> tuple[Callable[[], Any], Callable[[], Any]] | None:
    """A forward pass, and one with the gradients of all operands; None for what it has not."""
    run = _CALLS.get(spec.operation.name)
    if run is None:
        return None
    tensors = [_map(operands[0]), *(_weight(array) for array in operands[1:])]
    gradient = torch.ones_like(run(spec, *tensors))
    inputs = [tensor.requires_grad_() for tensor in tensors]

    def forward() -> Any:
        with torch.no_grad():
            run(spec, *tensors)

    def both() -> Any:
        torch.autograd.grad(run(spec, *inputs), inputs, gradient)

    return forward, both


def _conv(spec: Any, x: Any, weight: Any) -> Any:
    groups = weight.shape[0] if spec.operation.name == "depthwise_conv" else 1
    return F.conv2d(x, weight, None, spec.stride, spec.kernel // 2, 1, groups)


def _batch_norm(spec: Any, x: Any, scale: Any, bias: Any) -> Any:
    y = F.batch_norm(x, None, None, scale, bias, True, 0.1, 1e-3)
    return {"relu": F.relu, "hswish": F.hardswish, "none": lambda y: y}[spec.activation](y)


_DEVICE = "cuda" if jax.default_backend() == "gpu" else "cpu"
torch.backends.cudnn.benchmark = True
# As XLA multiplies by default.
torch.set_float32_matmul_precision("high")

_CALLS: dict[str, Callable[..., Any]] = {
    "depthwise_conv": _conv,
    "conv": _conv,
    "pointwise_conv": lambda _spec, x, weight: F.conv2d(x, weight),
    "batch_norm": _batch_norm,
}


def _map(array: Array) -> Any:
    value = _tensor(np.array(array, np.float32).transpose(0, 3, 1, 2), array)
    return value.contiguous(memory_format=torch.channels_last)


def _weight(array: Array) -> Any:
    """As PyTorch has it: (output channels, input channels of a group, height, width)."""
    value = np.array(array, np.float32)
    match value.ndim:
        case 4:
            value = value.transpose(3, 2, 0, 1)
        case 3:
            value = value.transpose(2, 0, 1)[:, None]
        case 2:
            value = value.T[:, :, None, None]
    return _tensor(value, array)


def _tensor(value: np.ndarray, like: Array) -> Any:
    return torch.tensor(value.copy()).to(_DEVICE, getattr(torch, str(like.dtype)))
