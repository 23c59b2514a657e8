"""A small transformer whose attention follows the flow through a network.

Akhauri & Abdelfattah, "Encodings for Prediction-based Neural Architecture Search", ICML 2024, §4:
attention along the edges of the graph, gated by the operation that receives (there beside a graph
convolution), both ways, and further encodings read by the head. Hwang et al., "FlowerFormer", CVPR
2024, §3.4: a token attends to all that a signal from it, or to it, passes, not to its neighbours
only.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

_CLOSED = -1e9


class FlowTransformer(nn.Module):
    """Tokens and the flow between them to numbers.

    Args:
        width: of a token inside; each of four heads has a quarter of it.
        layers: attention and feed-forward, each time.
        outputs: how many numbers; 0 for a single one without an axis.
    """

    width: int = 32
    layers: int = 2
    outputs: int = 0

    @nn.compact
    def __call__(
        self,
        inputs: tuple[Float[Array, "n t f"], Float[Array, "n t t"], Float[Array, "n s"]],
    ) -> Float[Array, "n ..."]:
        """Numbers of each architecture, from tokens, flow and what else is known of it."""
        tokens, flow, known = inputs
        read = Encoder(self.width, self.layers, name="encoder")(tokens, flow)
        x = jnp.concatenate([read, known], axis=-1)
        x = nn.silu(nn.Dense(2 * self.width, name="hidden")(x))
        x = nn.Dense(max(self.outputs, 1), name="out")(x)
        return x if self.outputs else x[:, 0]


class Encoder(nn.Module):
    """Tokens to one vector: mean and sum of those that are alive."""

    width: int
    layers: int

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "n t f"], flow: Float[Array, "n t t"]
    ) -> Float[Array, "n k"]:
        """What is read of each architecture."""
        alive = jnp.diagonal(flow, axis1=1, axis2=2)[:, :, None]
        operation = nn.silu(nn.Dense(self.width, name="embed")(tokens))
        x = operation
        for i in range(self.layers):
            x = x + FlowAttention(name=f"attend{i}")(
                nn.LayerNorm(name=f"before{i}")(x), operation, flow
            )
            y = nn.silu(nn.Dense(2 * self.width, name=f"wide{i}")(nn.LayerNorm(name=f"n{i}")(x)))
            x = x + nn.Dense(self.width, name=f"narrow{i}")(y)
        x = nn.LayerNorm(name="last")(x) * alive
        total, count = x.sum(1), alive.sum(1)
        share = jnp.float32(1 / tokens.shape[1])
        return jnp.concatenate([total / jnp.maximum(count, jnp.float32(1)), total * share], axis=-1)


class FlowAttention(nn.Module):
    """Two heads look at where a signal comes from, two at where it goes.

    What a token gets is gated by its operation.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n t d"],
        operation: Float[Array, "n t d"],
        flow: Float[Array, "n t t"],
    ) -> Float[Array, "n t d"]:
        """What each token gets of the others."""
        n, t, d = x.shape
        parts = nn.Dense(3 * d, name="parts")(x).reshape(n, t, 3, 4, d // 4)
        query, key, value = (parts[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
        scores = query @ key.transpose(0, 1, 3, 2) * jnp.float32((d // 4) ** -0.5)
        # Rows are those that look: into what flows in, the transpose, and into what flows out.
        seen = jnp.stack([flow.transpose(0, 2, 1)] * 2 + [flow] * 2, axis=1)
        nearer = self.param("nearer", nn.initializers.zeros, (4, 1, 1))
        itself = self.param("itself", nn.initializers.zeros, (4, 1, 1))
        eye = jnp.eye(t, dtype=jnp.float32)[None, None]
        scores = scores + nearer[None] * jnp.maximum(seen - 1, 0) + itself[None] * eye
        scores = jnp.where(seen + eye > 0, scores, jnp.float32(_CLOSED))
        got = (jax.nn.softmax(scores) @ value).transpose(0, 2, 1, 3).reshape(n, t, d)
        gate = nn.sigmoid(nn.Dense(d, name="gate")(operation))
        return gate * nn.Dense(d, name="mix")(got)
