"""Training the super-network: the sandwich rule with in-place distillation.

Every step trains the largest sub-network on the labels, and the smallest and a few random ones on
the largest one's predictions (Yu et al., "BigNAS: Scaling Up Neural Architecture Search with Big
Single-Stage Models", ECCV 2020, §3.2; Cai et al., "Once-for-All", ICLR 2020, §3.3). The members
of a step share the static knobs (input resolution), drawn anew for each step.
"""

import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float, Int, Int32, UInt8

from nas.config.schema import Experiment, SupernetConfig
from nas.data.augment import augment, normalise
from nas.data.batches import epoch_order
from nas.data.dataset import Dataset
from nas.data.resize import resize
from nas.supernet.checkpoint import Checkpoints
from nas.supernet.executors import Executors, input_size
from nas.supernet.masked import Logits, Static
from search_spaces.ir.interpret import Params, init

State = dict[str, Any]
Gradients = tuple[tuple[Float[Array, ""], Logits], Params]
Progress = Callable[[int, int, str], None]
_ORDER, _ARCHS = 1, 2
_CHECKPOINT_S = 10.0
# What the average of the weights reaches back over where the experiment does not say it: steps, and
# at most this share of the training. A longer one still holds the fresh weights at its end.
_AVERAGED_STEPS, _AVERAGED_SHARE = 1000, 1 / 8


class Trainer:
    """Compiled pieces of a training step, and the loop over them.

    Args:
        experiment: the run's configuration.
        data: training images are taken from it, nothing else.
        executors: of the experiment's space.
    """

    def __init__(self, experiment: Experiment, data: Dataset, executors: Executors) -> None:
        self.config: SupernetConfig = experiment.supernet
        self.seed = experiment.seed
        self.spec = experiment.data.augment
        self.data = data
        self.executors = executors
        self.space = executors.space
        batch = min(self.config.batch, len(data.train.labels))
        self.steps = len(data.train.labels) // batch
        self.elastic = executors.elastic
        self.ema = _decay(self.config, self.steps)
        self.optimiser = _optimiser(self.config, self.steps)
        self.prepare = jax.jit(self._prepare, static_argnums=2)
        self.extreme = cache(self._extreme)
        self.member = jax.jit(self._member, static_argnums=4)
        self.hard_targets = jax.jit(self._hard_targets)
        self.update = jax.jit(self._update, donate_argnums=0)

    def run(self, checkpoints: Checkpoints, progress: Progress) -> Params:
        """Train to the last epoch, from the newest checkpoint if there is one.

        Every epoch depends on the seed and its number alone, so a resumed run is bit-equal. Epochs
        of a few seconds share a checkpoint, which takes about one itself.

        Returns:
            The averaged weights.
        """
        state = checkpoints.restore(self.start())
        saved = time.monotonic()
        for epoch in range(int(state["epoch"]), self.config.epochs):
            began = time.monotonic()
            state, loss = self.epoch(state, epoch)
            took = time.monotonic() - began
            if epoch + 1 == self.config.epochs or time.monotonic() - saved > _CHECKPOINT_S:
                checkpoints.save(epoch + 1, state)
                saved = time.monotonic()
            progress(epoch + 1, self.config.epochs, f"loss {loss:.3f}, {took:.1f} s an epoch")
        return state["average"]

    def start(self) -> State:
        """Fresh weights, optimiser state and average."""
        params = init(self.space.build(None), jax.random.key(self.seed))
        return {
            "epoch": 0,
            "params": params,
            "optimiser": self.optimiser.init(params),
            "average": jax.tree.map(jnp.copy, params),
        }

    def epoch(self, state: State, epoch: int) -> tuple[State, float]:
        """One pass over the training images, and the largest sub-network's mean loss."""
        train = self.data.train
        rng = np.random.default_rng([self.seed, _ARCHS, epoch])
        order = epoch_order(self.seed, epoch, len(train.labels), self.config.batch)
        losses = []
        for step, rows in enumerate(order):
            static, members = self._draw(rng)
            key = jax.random.fold_in(jax.random.key(self.seed), epoch * self.steps + step)
            images = self.prepare(train.images[rows], key, self._input_size(static))
            state, loss = self.step(state, images, train.labels[rows], static, members)
            losses.append(loss)
        return {**state, "epoch": epoch + 1}, float(np.mean(jax.device_get(losses)))

    def step(
        self,
        state: State,
        images: Float[Array, "n h w c"],
        labels: Int32[np.ndarray, " n"],
        static: Static,
        members: Int32[np.ndarray, "members k"],
    ) -> tuple[State, Float[Array, ""]]:
        """One update of the weights from the largest, the smallest and some other sub-networks.

        Args:
            state: is given up: its memory is used again.
            images: prepared, at the resolution of `static`.
            labels: their classes.
            static: options of the static knobs, which all sub-networks of a step share.
            members: rows of the executor `elastic`.

        Returns:
            The new state, and the loss of the largest sub-network.
        """
        params = state["params"]
        hard = self.hard_targets(labels)
        (loss, teacher), grads = self.extreme(static, True)(params, images, hard)
        targets = jax.nn.softmax(teacher) if self.config.distill else hard
        found = [grads, self.extreme(static, False)(params, images, targets)[1]]
        found += [self.member(params, images, targets, row, static)[1] for row in members]
        return self.update(state, found), loss

    def _draw(self, rng: np.random.Generator) -> tuple[Static, Int32[np.ndarray, "members k"]]:
        """The step's static options and its random members."""
        archs = self.space.sample(rng, max(1, self.config.random_subnets))
        fixed = list(self.executors.static_knobs)
        archs[:, fixed] = archs[:1, fixed]
        members = self.elastic.rows(archs)[: self.config.random_subnets]
        return self.executors.static_options(archs[0]), members

    def _prepare(
        self, images: UInt8[Array, "n h w c"], key: Array, size: tuple[int, int]
    ) -> Float[Array, "n h2 w2 c"]:
        mean, std = jnp.asarray(self.data.mean), jnp.asarray(self.data.std)
        return resize(augment(key, normalise(images, mean, std), self.spec), size)

    def _extreme(self, static: Static, largest: bool) -> Callable[..., Gradients]:
        """Loss, logits and gradients of the largest or smallest sub-network, compiled for it."""
        arch = self.space.largest() if largest else self.space.smallest()
        for i, option in zip(self.executors.static_knobs, static, strict=True):
            arch[i] = self.space.knobs[i].options.index(option)
        graph = self.space.build(arch)

        def run(params: Params, images: Array, targets: Logits) -> Gradients:
            return gradients(lambda p: self.executors.sliced(p, graph, images)[0], params, targets)

        return jax.jit(run)

    def _member(
        self,
        params: Params,
        images: Array,
        targets: Logits,
        row: Int[Array, " k"],
        static: Static,
    ) -> Gradients:
        return gradients(lambda p: self.elastic(p, row, images, static)[0], params, targets)

    def _update(self, state: State, grads: list[Params]) -> State:
        total = jax.tree.map(lambda *leaves: sum(leaves[1:], start=leaves[0]), *grads)
        # Optax mixes integer counters with floats, which strict promotion forbids.
        with jax.numpy_dtype_promotion("standard"):
            updates, optimiser = self.optimiser.update(total, state["optimiser"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        decay = jnp.float32(self.ema)
        average = jax.tree.map(
            lambda old, new: old * decay + new * (1 - decay), state["average"], params
        )
        return {**state, "params": params, "optimiser": optimiser, "average": average}

    def _input_size(self, static: Static) -> tuple[int, int]:
        return input_size(self.executors.super_graph(static))

    def _hard_targets(self, labels: Int[Array, " n"]) -> Logits:
        classes = len(self.data.classes)
        return optax.smooth_labels(jax.nn.one_hot(labels, classes), self.config.label_smoothing)


def gradients(forward: Callable[[Params], Logits], params: Params, targets: Logits) -> Gradients:
    """Mean cross-entropy of `forward(params)` against soft targets, its logits, its gradient."""

    def loss(params: Params) -> tuple[Array, Logits]:
        logits = forward(params)
        return jnp.mean(optax.softmax_cross_entropy(logits, targets)), logits

    return jax.value_and_grad(loss, has_aux=True)(params)


def _decay(config: SupernetConfig, steps: int) -> float:
    """What a step leaves of the averaged weights; 0 is off."""
    if config.ema is not None:
        return config.ema
    return 1 - 1 / min(_AVERAGED_STEPS, max(1, _AVERAGED_SHARE * config.epochs * steps))


def _optimiser(config: SupernetConfig, steps: int) -> optax.GradientTransformation:
    """AdamW with warm-up and cosine decay; biases and norms are not decayed."""
    total = config.epochs * steps
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        # A training shorter than its warm-up still decays in its last step.
        warmup_steps=min(round(config.warmup_epochs * steps), total - 1),
        decay_steps=total,
    )
    decayed = partial(jax.tree.map, lambda leaf: leaf.ndim > 1)
    return optax.chain(
        optax.clip_by_global_norm(5.0),
        optax.adamw(schedule, weight_decay=config.weight_decay, mask=decayed),
    )
