import os
from pathlib import Path

import jax
import numpy as np
import pytest

from hw_profiles.device import load_device
from hw_profiles.measure import Policy
from hw_profiles.profilers import jax_runtime, registry
from hw_profiles.profilers.jax_runtime import JaxRuntime, find, load
from hw_profiles.program import queued
from hw_profiles.weights import random_params
from nas.testing.device_suite import SPACE, DeviceSuite
from search_spaces.errors import InputError
from search_spaces.ir.graph import Graph, TensorType
from search_spaces.ir.interpret import apply
from search_spaces.ir.ops import make_node

CPU = load_device("jax_cpu")
QUICK = Policy(visits=4, limit_visits=8, tolerance=0.05, least_s=0.3, limit_s=4.0)
X = TensorType((6, 6, 8))
POINTWISE = Graph(
    {"x": X},
    (make_node("mix", "pointwise", {"x": X}, {"features": 16, "bias": True}),),
    ("mix",),
)


# A compile for each model takes half a second.
@pytest.mark.slow
class TestJaxRuntime(DeviceSuite):
    device = CPU

    def make(self) -> JaxRuntime:
        return JaxRuntime(CPU, QUICK)


def test_networks_are_measured_and_threads_go_back() -> None:
    tasks = Path("/proc/self/task")
    before = {task: os.sched_getaffinity(int(task.name)) for task in tasks.iterdir()}
    [found] = JaxRuntime(CPU, QUICK).measure((), [POINTWISE]).networks
    assert found.source == "measured"
    assert found.value_us > 0
    assert found.n >= QUICK.visits
    for task, cores in before.items():
        if task.exists():
            assert os.sched_getaffinity(int(task.name)) == cores


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_loaded_network_computes_in_its_element_type(dtype: str) -> None:
    device = CPU.model_copy(update={"dtype": dtype, "batch": 3})
    [out] = load(POINTWISE, device, np.random.default_rng(0)).run()  # pyright: ignore
    assert out.shape == (3, 6, 6, 16)
    assert out.dtype == dtype
    assert np.isfinite(np.asarray(out, np.float32)).all()


def test_it_computes_what_the_graph_says() -> None:
    rng = np.random.default_rng(3)
    [out] = load(POINTWISE, CPU, np.random.default_rng(3)).run()  # pyright: ignore
    params = random_params(POINTWISE, rng)
    x = jax.numpy.asarray(rng.standard_normal((1, *X.shape)).astype(np.float32))
    [wanted], _ = apply(POINTWISE, jax.tree.map(jax.numpy.asarray, params), {"x": x})
    np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-5)


def test_an_accelerator_makes_inferences_in_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    [here] = jax.devices("cpu")[:1]
    monkeypatch.setattr(jax_runtime, "find", lambda _: here)
    device = CPU.model_copy(update={"kind": "gpu"})
    many = load(POINTWISE, device, np.random.default_rng(0))
    assert many.inferences == 100
    with monkeypatch.context() as patch:
        patch.setattr(jax_runtime, "_MOST_MACS", 40 * 6 * 6 * 8 * 16)
        assert load(POINTWISE, device, np.random.default_rng(0)).inferences == 40
    alone = load(POINTWISE, CPU, np.random.default_rng(0))
    queued_us = JaxRuntime(device, QUICK).measure((), [POINTWISE] * 3).networks[0].value_us
    one_us = JaxRuntime(CPU, QUICK).measure((), [POINTWISE]).networks[0].value_us
    assert alone.inferences == 1
    # What JAX takes to call a program is shared by the inferences of a queue.
    assert 0 < queued_us < one_us


def test_an_inference_of_a_queue_waits_for_the_one_before() -> None:
    def network(params: jax.Array, inputs: dict[str, jax.Array]) -> tuple[jax.Array, ...]:
        return (inputs["x"] + params,)

    inputs = {"x": jax.numpy.asarray([1.0, 5.0])}
    out = jax.jit(queued(network, 3))(jax.numpy.float32(0.25), inputs)
    wanted = 1.0
    for _ in range(3):
        wanted = np.tanh(wanted + 0.25)
    np.testing.assert_allclose(out["x"], [wanted, 5.0], rtol=1e-6)


def test_the_runtime_names_jax_and_the_device() -> None:
    assert registry.create(CPU).runtime == f"jax {jax.__version__} on cpu"
    assert find(CPU) == jax.devices("cpu")[0]


@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_a_device_that_jax_lacks_is_one_line(kind: str) -> None:
    device = load_device(f"jax_{kind}")
    assert device.dtype == "bfloat16"
    if any(one.platform == kind for one in jax.devices()):
        pytest.skip(f"there is a {kind}")
    for ask in (lambda: registry.create(device).runtime, lambda: JaxRuntime(device).measure(())):
        with pytest.raises(InputError, match=f"'jax_{kind}': JAX finds no {kind} here") as caught:
            ask()
        [line] = caught.value.problems
        assert "pip install 'jax[" in line
        assert "only: cpu" in line


@pytest.mark.slow
def test_a_larger_batch_takes_longer() -> None:
    graph = SPACE.build(SPACE.largest())
    one, many = (
        JaxRuntime(CPU.model_copy(update={"batch": batch}), QUICK).measure((), [graph])
        for batch in (1, 32)
    )
    assert many.networks[0].value_us > 2 * one.networks[0].value_us
