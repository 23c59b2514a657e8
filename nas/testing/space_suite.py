"""What every search space keeps; a new space inherits these tests by one class.

    class TestMine(SpaceSuite):
        space = create("mine", resolution=(8,), ...)      # small: everything is compiled

Checked: an architecture's encodings agree, sizes are exact, blocks cover what can be built, and
the network that is searched (masked super-graph), run (sliced) and deployed (ONNX) is one.
"""

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from nas.supernet.executors import Executors, input_size
from search_spaces.ir.blocks import split_blocks
from search_spaces.ir.count import count
from search_spaces.ir.elastic import cut
from search_spaces.ir.graph import Graph
from search_spaces.ir.interpret import init
from search_spaces.ir.passes import fold_batchnorm, fold_params
from search_spaces.ir.serialize import from_dict, to_dict
from search_spaces.ir.to_onnx import check, to_onnx
from search_spaces.ir.verify import verify_within
from search_spaces.space import Archs, SearchSpace

_BRUTE_FORCE = 300_000


class _Trained:
    """A space with random weights and its executors, compiled once for all tests."""

    def __init__(self, space: SearchSpace) -> None:
        self.executors = Executors(space)
        self.params = init(space.build(None), jax.random.key(0))
        self.masked = jax.jit(self.executors.masked, static_argnums=3)
        self.fold = jax.jit(self.executors.masked.fold, static_argnums=2)
        self.infer = jax.jit(self.executors.masked.infer, static_argnums=3)
        self.gradient = jax.jit(
            jax.grad(self._loss(self.executors.masked), has_aux=True), static_argnums=3
        )
        self.switch_infer = jax.jit(self.executors.switch.infer, static_argnums=3)
        self.switch_gradient = jax.jit(
            jax.grad(self._loss(self.executors.switch), has_aux=True), static_argnums=3
        )

    @staticmethod
    def _loss(run):
        def loss(params, row, images, static):
            logits, stats = run(params, row, images, static)
            return jnp.sum(jnp.square(logits)), (logits, stats)

        return loss

    @staticmethod
    def images(graph: Graph, n: int = 4) -> jax.Array:
        channels = next(iter(graph.inputs.values())).shape[-1]
        return jax.random.normal(jax.random.key(1), (n, *input_size(graph), channels))


class SpaceSuite:
    """Inherited tests; a subclass sets `space`."""

    space: SearchSpace

    def archs(self, n: int, seed: int = 0) -> Archs:
        """Both extremes and `n` random architectures."""
        sample = self.space.sample(np.random.default_rng(seed), n)
        return np.concatenate([self.space.largest()[None], self.space.smallest()[None], sample])

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls) -> _Trained:
        """Shared by the tests of one space."""
        return _Trained(cls.space)

    def test_canonical_is_idempotent_and_builds_the_same_network(self):
        rng = np.random.default_rng(1)
        raw = rng.integers(0, self.space.cardinality[None, :], (20, len(self.space.knobs)))
        canonical = self.space.canonical(raw)
        assert np.array_equal(self.space.canonical(canonical), canonical)
        for before, after in zip(raw[:5], canonical[:5], strict=True):
            assert self.space.build(before).digest() == self.space.build(after).digest()

    def test_different_canonical_architectures_are_different_networks(self):
        archs = np.unique(self.archs(40), axis=0)
        assert len({self.space.build(arch).digest() for arch in archs}) == len(archs)

    def test_encode_inverts_decode(self):
        for arch in self.archs(20):
            assert np.array_equal(self.space.encode(self.space.decode(arch)), arch)

    def test_neighbours_are_canonical_distinct_and_one_choice_away(self):
        for arch in self.archs(3):
            found = self.space.neighbours(arch)
            assert np.array_equal(np.unique(found, axis=0), found)
            assert np.array_equal(self.space.canonical(found), found)
            choices = self.space.decode(arch)
            for other in found:
                shared = choices.keys() & self.space.decode(other).keys()
                assert sum(choices[k] != self.space.decode(other)[k] for k in shared) == 1

    def test_onehot_is_zero_where_a_knob_is_not_read(self):
        archs = self.archs(10)
        onehot = self.space.onehot(archs)
        assert onehot.shape == (len(archs), self.space.cardinality.sum())
        assert np.array_equal(onehot.sum(1), self.space.active(archs).sum(1))

    def test_size_counts_the_distinct_architectures(self):
        combinations = int(np.prod(self.space.cardinality.astype(float)))
        assert 0 < self.space.size() <= combinations
        if combinations <= _BRUTE_FORCE:
            sizes = tuple(map(int, self.space.cardinality))
            everything = np.indices(sizes).reshape(len(sizes), -1).T
            distinct = np.unique(self.space.canonical(everything), axis=0)
            assert self.space.size() == len(distinct)

    def test_networks_lie_inside_the_super_graph(self):
        super_graph = self.space.build(None)
        for arch in self.archs(5):
            verify_within(self.space.build(arch), super_graph)

    def test_json_round_trip(self):
        for graph in (self.space.build(None), *map(self.space.build, self.archs(2))):
            again = from_dict(to_dict(graph))
            assert again == graph
            assert again.digest() == graph.digest()

    def test_blocks_cover_what_is_built(self, trained):
        blocks = trained.executors.blocks
        archs = self.archs(20)
        for arch, row, macs in zip(
            archs, blocks.index(archs), blocks.total(blocks.macs, archs), strict=True
        ):
            graph = self.space.build(arch)
            drawn = {name: block.digest() for name, block in split_blocks(graph).items()}
            found = {
                name: blocks.keys[unit]
                for name, unit in zip(blocks.positions, row, strict=True)
                if unit >= 0
            }
            assert drawn == found
            assert count(graph).macs == macs

    def test_masked_equals_sliced(self, trained):
        for arch in self.archs(3):
            graph = self.space.build(arch)
            images = trained.images(graph)
            static = trained.executors.static_options(arch)
            slots = trained.executors.masked.rows(arch[None])[0]
            expected, stats = trained.executors.sliced(trained.params, graph, images)
            masked, found = trained.masked(trained.params, slots, images, static)
            assert _error(masked, expected) < 1e-4
            for node, moments in stats.items():
                live = len(moments["mean"])
                np.testing.assert_allclose(
                    found[node]["mean"][:live], moments["mean"], rtol=1e-3, atol=1e-4
                )
            network = trained.fold(trained.params, slots, static, found)
            assert _error(trained.infer(network, slots, images, static), expected) < 1e-4

    def test_switch_equals_masked_with_its_gradient(self, trained):
        for arch in self.archs(2):
            images = trained.images(self.space.build(arch))
            static = trained.executors.static_options(arch)
            found, expected = (
                run(trained.params, executor.rows(arch[None])[0], images, static)
                for run, executor in (
                    (trained.switch_gradient, trained.executors.switch),
                    (trained.gradient, trained.executors.masked),
                )
            )
            largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[0]))
            for a, b in zip(jax.tree.leaves(found[0]), jax.tree.leaves(expected[0]), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-4 * largest)
            logits, stats = found[1]
            assert _error(logits, expected[1][0]) < 1e-4
            row = jnp.asarray(trained.executors.switch.rows(arch[None])[0])
            network = trained.executors.switch.fold(trained.params, row, static, stats)
            assert _error(trained.switch_infer(network, row, images, static), logits) < 1e-4

    def test_weights_outside_the_slice_change_nothing(self, trained):
        for arch in self.archs(2)[1:]:
            graph = self.space.build(arch)
            images = trained.images(graph)
            static = trained.executors.static_options(arch)
            slots = trained.executors.masked.rows(arch[None])[0]
            inside = _inside(trained.params, graph)
            garbage = jax.tree.map(
                lambda value, live: jnp.where(live, value, 1e3), trained.params, inside
            )
            clean, _ = trained.masked(trained.params, slots, images, static)
            dirty, _ = trained.masked(garbage, slots, images, static)
            assert np.array_equal(clean, dirty)
            grads, _ = trained.gradient(trained.params, slots, images, static)
            leaks = jax.tree.map(
                lambda grad, live: np.abs(np.where(live, 0, grad)).max(), grads, inside
            )
            assert max(jax.tree.leaves(leaks)) == 0

    def test_onnx_equals_jax(self, trained):
        for arch in self.archs(2):
            graph = self.space.build(arch)
            images = trained.images(graph)
            params = cut(trained.params, graph)
            _, stats = trained.executors.sliced(trained.params, graph, images)
            expected, _ = trained.executors.sliced(trained.params, graph, images, stats)
            folded = fold_params(graph, *jax.tree.map(np.asarray, (params, stats)))
            model = check(to_onnx(fold_batchnorm(graph), folded))
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), providers=["CPUExecutionProvider"]
            )
            feed = {next(iter(graph.inputs)): np.asarray(images).transpose(0, 3, 1, 2)}
            (found,) = session.run(None, feed)
            assert _error(found, expected) < 1e-4


def _inside(params, graph):
    """For each parameter, where the sub-network's slice lies."""
    marked = jax.tree.map(lambda value: np.zeros(value.shape, bool), params)
    numbered = jax.tree.map(lambda value: np.arange(value.size).reshape(value.shape), params)
    for node, own in cut(numbered, graph).items():
        for name, places in own.items():
            marked[node][name].reshape(-1)[places.reshape(-1)] = True
    return marked


def _error(found, expected) -> float:
    """Relative to the largest value; absolute where all are 0, as a network without paths makes."""
    return float(np.max(np.abs(found - expected)) / (np.max(np.abs(expected)) or 1.0))
