"""What an untrained network tells of its accuracy, from one batch and a few gradients.

Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, compare most of them. The
network of an architecture runs as its own graph with fresh weights, op by op: nothing is compiled
for one architecture alone, and ops of shapes that came before are compiled already.

| name | what | source |
|---|---|---|
| `grad_norm` | norm of the loss's gradient | Abdelfattah et al. 2021, §3.2 |
| `snip` | sum of abs(weight x gradient) | Lee et al., ICLR 2019, eq. 6 |
| `grasp` | minus the sum of weight x (Hessian x gradient) | Wang et al., ICLR 2020, eq. 8 |
| `fisher` | squared (activation x gradient), summed over maps | Turner et al., ICLR 2020, eq. 6 |
| `synflow` | log sum of weight x gradient, without data | Tanaka et al., NeurIPS 2020 |
| `jacob_cov` | how unlike the images' input gradients are | Mellor et al., arXiv 2006.04647v1, §3 |
| `naswot` | log determinant of how often ReLUs agree on images | Mellor et al., ICML 2021 |
| `zen` | log of what noise on the input does to the last map | Lin et al., ICCV 2021, alg. 1 |
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float64, Int

from search_spaces.errors import InputError
from search_spaces.ir.graph import DType, Graph, Node, TensorType
from search_spaces.ir.interpret import Params, apply, init
from search_spaces.named import hint
from search_spaces.space import Archs, SearchSpace

_RECTIFIERS = ("relu", "relu6", "hswish", "gelu")
# Step of the central difference that stands for a Hessian, relative to the weights' norm.
_STEP = 1e-2
# Change of the input, relative to its own spread (Lin et al. 2021, §4).
_ZEN_STEP = 1e-2
_TINY = 1e-30
# Architectures that set the unit of each proxy.
_SAMPLE = 32
_FARTHEST = 5.0

Images = Float[Array, "n h w c"]
Labels = Int[Array, " n"]


@dataclass(frozen=True)
class Untrained:
    """A network with fresh weights, and a batch.

    Args:
        graph: of one architecture, one image in and logits out.
        images: as the network takes them, normalised.
        labels: the class of each.
        key: of the weights.
    """

    graph: Graph
    images: Images
    labels: Labels
    key: Array

    @cached_property
    def params(self) -> dict[str, dict[str, Array]]:
        """The weights."""
        return init(self.graph, self.key)

    @cached_property
    def rectified(self) -> tuple[str, ...]:
        """Nodes after which activations are looked at."""
        return tuple(node.name for node in self.graph.nodes if node.op in _RECTIFIERS)

    @cached_property
    def gradients(self) -> tuple[Any, dict[str, Array]]:
        """Of the loss: for the weights, and for a factor on each map of each image."""
        graph = _probed(self.graph, self.rectified)
        ones = {
            _probe(name): jnp.ones((len(self.images), *graph.inputs[_probe(name)].shape))
            for name in self.rectified
        }
        return jax.grad(partial(self._loss, graph), argnums=(0, 1))(self.params, ones)

    def loss_gradient(self, params: Params) -> Any:
        """Of the loss, for other weights."""
        return jax.grad(partial(self._loss, self.graph))(params, {})

    def _loss(self, graph: Graph, params: Params, probes: Mapping[str, Array]) -> Array:
        logits = self.logits(graph, params, self.images, probes)
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), self.labels[:, None], axis=1)
        return -jnp.mean(picked)

    def logits(
        self, graph: Graph, params: Params, images: Images, probes: Mapping[str, Array]
    ) -> Array:
        """The first output, batch norm with statistics of the batch."""
        return apply(graph, params, {_image(self.graph): images, **probes})[0][0]


def grad_norm(net: Untrained) -> float:
    """Norm of the gradient of the loss."""
    return float(jnp.sqrt(_dot(net.gradients[0], net.gradients[0])))


def snip(net: Untrained) -> float:
    """How much the loss would change without each weight, to first order."""
    return float(_total(jax.tree.map(lambda w, g: jnp.abs(w * g), net.params, net.gradients[0])))


def grasp(net: Untrained) -> float:
    """How much less gradient there would be without each weight.

    The Hessian times the gradient is a central difference of gradients, since the kernels have no
    second derivative.
    """
    gradient = net.gradients[0]
    length = jnp.sqrt(_dot(gradient, gradient))
    step = _STEP * jnp.sqrt(_dot(net.params, net.params)) / jnp.maximum(length, _TINY)
    ahead, behind = (
        net.loss_gradient(jax.tree.map(lambda w, g, s=sign: w + s * step * g, net.params, gradient))
        for sign in (1.0, -1.0)
    )
    product = jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)
    return -float(_dot(net.params, product))


def fisher(net: Untrained) -> float:
    """Sum over maps of the mean over images of (sum of activation x gradient)^2 / 2.

    The gradient for a factor on a map is that sum; the loss's mean over images is taken back.
    """
    n = len(net.images)
    return float(sum(jnp.sum(jnp.square(g * n)) / (2 * n) for g in net.gradients[1].values()))


def synflow(net: Untrained) -> float:
    """Logarithm of the sum of weight x gradient, of absolute weights and an image of ones.

    Batch norm is the identity. Of a network of linear layers without biases it is, but for the
    logarithm, the number of layers times the sum of the product of absolute weights.
    """
    stats = {
        node.name: {"mean": jnp.zeros(c), "var": jnp.full(c, 1 - float(str(node.attrs["epsilon"])))}
        for node in net.graph.nodes
        if node.op == "batch_norm"
        for c in (node.out.shape[-1],)
    }
    ones = {_image(net.graph): jnp.ones((1, *net.images.shape[1:]))}
    weights = jax.tree.map(jnp.abs, net.params)

    def through(params: Params) -> Array:
        return jnp.sum(apply(net.graph, params, ones, stats=stats)[0][0])

    # Of the logarithm, which has the same direction and does not overflow.
    value, gradient = jax.value_and_grad(lambda p: jnp.log(through(p) + _TINY))(weights)
    return float(value) + float(np.log(np.maximum(_dot(weights, gradient), _TINY)))


def jacob_cov(net: Untrained) -> float:
    """Minus the sum of `log(v + k) + 1 / (v + k)`, `v` the eigenvalues of the correlation matrix.

    The correlations are those between the images of the gradients of all logits; `k` is 1e-5.
    """
    gradient = jax.grad(lambda x: jnp.sum(net.logits(net.graph, net.params, x, {})))(net.images)
    rows = np.asarray(gradient, np.float64).reshape(len(net.images), -1)
    rows -= rows.mean(1)[:, None]
    length = np.sqrt(np.square(rows).sum(1))
    if np.any(length == 0):
        return -float(len(rows)) / 1e-5
    rows /= length[:, None]
    values = np.maximum(np.linalg.eigvalsh(rows @ rows.T), 0) + 1e-5
    return -float(np.sum(np.log(values) + 1 / values))


def naswot(net: Untrained) -> float:
    """Log determinant of the kernel of agreements: on how many units two images agree."""
    if not net.rectified:
        return 0.0
    seen = replace(net.graph, outputs=net.rectified)
    outputs, _ = apply(seen, net.params, {_image(net.graph): net.images})
    on = np.concatenate([np.asarray(x > 0).reshape(len(net.images), -1) for x in outputs], axis=1)
    on = on.astype(np.float32)
    agreed = (on @ on.T + (1 - on) @ (1 - on).T).astype(np.float64)
    return float(np.linalg.slogdet(agreed + 1e-6 * np.eye(len(on)) * on.shape[1])[1])


def zen(net: Untrained) -> float:
    """Log of the mean change of the last map under noise, and of what batch norms divided by."""
    pools = [node.inputs[0] for node in net.graph.nodes if node.op == "global_pool"]
    seen = replace(net.graph, outputs=(pools[-1] if pools else net.graph.outputs[0],))
    first, second = jax.random.split(net.key)
    x = jax.random.normal(first, net.images.shape)
    y = x + _ZEN_STEP * jax.random.normal(second, x.shape)
    (before,), stats = apply(seen, net.params, {_image(net.graph): x})
    (after,), _ = apply(seen, net.params, {_image(net.graph): y})
    change = jnp.mean(jnp.sum(jnp.abs(after - before).reshape(len(x), -1), axis=1))
    scales = sum(0.5 * float(jnp.log(jnp.mean(s["var"]) + _TINY)) for s in stats.values())
    return float(jnp.log(change + _TINY)) + scales


_PROXIES: Mapping[str, Callable[[Untrained], float]] = {
    f.__name__: f for f in (fisher, grad_norm, grasp, jacob_cov, naswot, snip, synflow, zen)
}
NAMES = tuple(_PROXIES)


class ZeroCost:
    """Proxies of architectures, each worked out once.

    Args:
        space: it must draw its networks.
        names: which proxies.
        images: a batch, as the networks take it; of another size than an architecture's input it
            is resized.
        labels: its classes.
        seed: of the weights.

    Raises:
        InputError: an unknown proxy, or a space without networks.
    """

    def __init__(
        self,
        space: SearchSpace,
        names: Sequence[str],
        images: Float[np.ndarray, "n h w c"],
        labels: Int[np.ndarray, " n"],
        seed: int = 0,
    ) -> None:
        unknown = [name for name in names if name not in _PROXIES]
        if unknown:
            raise InputError(f"zero_cost: unknown proxy {unknown[0]!r}; {hint(unknown[0], NAMES)}")
        if not space.has_networks:
            raise InputError(f"zero_cost: space {space.name} draws no networks to run")
        self.space = space
        self.names = tuple(names)
        self._images, self._labels = jnp.asarray(images), jnp.asarray(labels)
        self._key = jax.random.key(seed)
        self._known: dict[bytes, list[float]] = {}
        self._took_s: list[float] = []

    @property
    def seconds(self) -> float | None:
        """What a network takes, by the clock: the median so far, since the first ones compile."""
        return float(np.median(self._took_s)) if self._took_s else None

    def __call__(self, archs: Archs) -> Float64[np.ndarray, "n p"]:
        """A row an architecture, a column a proxy, centred and scaled by some random ones."""
        return scaled(self.raw(archs), self._typical)

    @cached_property
    def _typical(self) -> Float64[np.ndarray, "n p"]:
        return self.raw(self.space.sample(np.random.default_rng(0), _SAMPLE))

    def raw(self, archs: Archs) -> Float64[np.ndarray, "n p"]:
        """Proxies not scaled yet; signed logarithms of those that are none."""
        archs = self.space.canonical(archs).astype(np.int64)
        keys = [arch.tobytes() for arch in archs]
        for key, arch in zip(keys, archs, strict=True):
            if key not in self._known:
                began = time.monotonic()
                net = self._network(arch)
                self._known[key] = [_compressed(name, _PROXIES[name](net)) for name in self.names]
                self._took_s.append(time.monotonic() - began)
        rows = [self._known[key] for key in keys]
        return np.array(rows, np.float64).reshape(len(archs), len(self.names))

    def _network(self, arch: np.ndarray) -> Untrained:
        graph = self.space.build(arch)
        size = graph.inputs[_image(graph)].shape
        shape = (len(self._images), *size)
        images = self._images
        if images.shape != shape:
            images = jax.image.resize(images, shape, "linear")
        return Untrained(graph, images, self._labels, self._key)


def scaled(
    values: Float64[np.ndarray, "n p"], typical: Float64[np.ndarray, "m p"]
) -> Float64[np.ndarray, "n p"]:
    """Proxies centred and scaled by medians and robust standard deviations, none far from all.

    Args:
        values: a row a network.
        typical: those of the networks that set the scale.
    """
    center = np.median(typical, axis=0)
    spread = 1.4826 * np.median(np.abs(typical - center[None, :]), axis=0)
    units = (values - center[None, :]) / np.where(spread > 0, spread, 1.0)[None, :]
    # A network that computes nothing lies hundreds of units below all others.
    return np.clip(units, -_FARTHEST, _FARTHEST)


def _compressed(name: str, value: float) -> float:
    """Proxies that span decades, on a scale on which sums of features make sense."""
    if name in ("synflow", "naswot", "zen"):
        return value
    return float(np.sign(value) * np.log1p(abs(value)))


def _probe(name: str) -> str:
    return f"{name}/probe"


def _probed(graph: Graph, names: Sequence[str]) -> Graph:
    """The graph with a factor, an input of its own, on every map of some nodes."""
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        nodes.append(replace(node, inputs=inputs))
        if node.name in names:
            renamed[node.name] = f"{node.name}/probed"
            source = (node.name, _probe(node.name))
            nodes.append(Node(renamed[node.name], "mul", source, node.out, {}, {}))
    probes = {
        _probe(name): TensorType(
            (*(1 for _ in graph.type_of(name).shape[:-1]), graph.type_of(name).shape[-1]),
            DType.FLOAT32,
        )
        for name in names
    }
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return replace(graph, inputs={**graph.inputs, **probes}, nodes=tuple(nodes), outputs=outputs)


def _image(graph: Graph) -> str:
    return next(iter(graph.inputs))


def _dot(a: Any, b: Any) -> Array:
    return _total(jax.tree.map(lambda x, y: x * y, a, b))


def _total(tree: Any) -> Array:
    return sum((jnp.sum(leaf) for leaf in jax.tree.leaves(tree)), jnp.zeros(()))
