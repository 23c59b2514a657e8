"""The same supernet step in plain PyTorch: what a careful user of it would write.

Weights are sliced views of the largest network's, images are `channels_last`, and every operation
is PyTorch's own, so oneDNN or cuDNN computes the convolutions. PyTorch is not a dependency of the
project.
"""

# pyright: reportMissingImports=false

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (what everybody calls it)
from torch import Tensor

from search_spaces.ir.graph import Graph, Node

Moments = dict[str, tuple[Tensor, Tensor]]


class TorchSupernet:
    """Parameters of the super-network, and the step and evaluation over its sub-networks.

    Args:
        params: `{node: {name: array}}` of the super-graph, as JAX has them.
        smoothing: label smoothing of the largest sub-network's loss.
        ema: decay of the averaged weights.
        device: of PyTorch.
    """

    def __init__(
        self,
        params: Mapping[str, Mapping[str, np.ndarray]],
        smoothing: float,
        ema: float,
        device: str,
    ) -> None:
        self.params = {
            (node, name): torch.nn.Parameter(_from_jax(name, np.array(value)).to(device))
            for node, own in params.items()
            for name, value in own.items()
        }
        self.smoothing, self.ema = smoothing, ema
        weights = list(self.params.values())
        self.average = [weight.detach().clone() for weight in weights]
        self.optimiser = torch.optim.AdamW(weights, lr=1e-3, weight_decay=1e-4, foreach=True)

    def step(self, graphs: Sequence[Graph], images: Tensor, labels: Tensor) -> float:
        """Largest network on the labels, the others on its predictions, one update."""
        self.optimiser.zero_grad(set_to_none=True)
        logits = self.forward(graphs[0], images)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        loss.backward()
        targets = torch.softmax(logits.detach(), -1)
        for graph in graphs[1:]:
            F.cross_entropy(self.forward(graph, images), targets).backward()
        weights = list(self.params.values())
        torch.nn.utils.clip_grad_norm_(weights, 5.0, foreach=True)
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, [w.detach() for w in weights], 1 - self.ema)
        return loss.item()

    @torch.no_grad()
    def evaluate(
        self, graph: Graph, calibration: Sequence[Tensor], batches: Sequence[Tensor]
    ) -> list[Tensor]:
        """Predicted classes after batch statistics were taken anew from `calibration`."""
        found: list[Moments] = []
        for images in calibration:
            moments: Moments = {}
            self.forward(graph, images, found=moments)
            found.append(moments)
        used = {
            node: (
                torch.stack([one[node][0] for one in found]).mean(0),
                torch.stack([one[node][1] for one in found]).mean(0),
            )
            for node in found[0]
        }
        return [self.forward(graph, images, used=used).argmax(-1) for images in batches]

    def forward(
        self,
        graph: Graph,
        images: Tensor,
        found: Moments | None = None,
        used: Moments | None = None,
    ) -> Tensor:
        """Logits of a sub-network.

        Args:
            graph: of the sub-network.
            images: NCHW in `channels_last` memory.
            found: filled with the moments of each batch norm.
            used: moments to normalise with, instead of the batch's.
        """
        values = dict(zip(graph.inputs, (images,), strict=True))
        for node in graph.nodes:
            xs = [values[name] for name in node.inputs]
            if node.op == "batch_norm":
                values[node.name] = self._batch_norm(node, xs[0], found, used)
            else:
                values[node.name] = self._forward(node, xs)
        return values[graph.outputs[0]]

    def _batch_norm(
        self, node: Node, x: Tensor, found: Moments | None, used: Moments | None
    ) -> Tensor:
        scale, bias = self._sliced(node, "scale"), self._sliced(node, "bias")
        epsilon = float(str(node.attrs["epsilon"]))
        if used is not None:
            return F.batch_norm(x, *used[node.name], scale, bias, eps=epsilon)
        mean = variance = None
        if found is not None:
            # Momentum 1 leaves the moments of this batch.
            mean, variance = torch.zeros_like(scale), torch.ones_like(scale)
            found[node.name] = mean, variance
        return F.batch_norm(x, mean, variance, scale, bias, True, 1.0, epsilon)

    def _forward(self, node: Node, xs: list[Tensor]) -> Tensor:
        x = xs[0]
        if node.op in ("conv", "depthwise", "pointwise"):
            weight = self._sliced(node, "weight")
            bias = self._sliced(node, "bias") if "bias" in node.params else None
            if node.op == "pointwise":
                return F.conv2d(x, weight[:, :, None, None], bias)
            stride, padding = int(str(node.attrs["stride"])), int(str(node.attrs["padding"]))
            groups = weight.shape[0] if node.op == "depthwise" else 1
            return F.conv2d(x, weight, bias, stride, padding, 1, groups)
        if node.op == "dense":
            return F.linear(x, self._sliced(node, "weight"), self._sliced(node, "bias"))
        match node.op:
            case "relu":
                return F.relu(x)
            case "hswish":
                return F.hardswish(x)
            case "hsigmoid":
                return F.hardsigmoid(x)
            case "add":
                return x + xs[1]
            case "mul":
                return x * xs[1]
            case "global_pool":
                return F.adaptive_avg_pool2d(x, 1)
            case "reshape":
                return x.flatten(1)
            case _:
                raise NotImplementedError(f"{node.name}: {node.op}")

    def _sliced(self, node: Node, name: str) -> Tensor:
        full = self.params[node.name, name]
        shape = node.params[name].shape
        if name != "weight" or len(shape) == 1:
            return full[: shape[0]]
        if node.op == "depthwise":
            edge = (full.shape[2] - shape[0]) // 2
            return full[: shape[2], :, edge : edge + shape[0], edge : edge + shape[0]]
        return full[: shape[-1], : shape[-2]]


def _from_jax(name: str, value: np.ndarray) -> Tensor:
    if name != "weight":
        return torch.tensor(value)
    if value.ndim == 2:
        return torch.tensor(value.T.copy())
    if value.ndim == 3:
        return torch.tensor(value.transpose(2, 0, 1)[:, None].copy())
    return torch.tensor(value.transpose(3, 2, 0, 1).copy())
