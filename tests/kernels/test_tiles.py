import json
import re
from importlib.resources import files

import jax
import jax.numpy as jnp
import pytest

from kernels import aot, tiles, tune
from kernels.depthwise_conv.api import depthwise_conv
from kernels.dispatch import interpreted, platform
from kernels.inventory import specs

# What `ptxas -v` says of a module with two kernels.


def entries():
    for operation in aot.PALLAS_OPERATIONS["tpu"]:
        document = json.loads(files(f"kernels.{operation}").joinpath("tiles.json").read_text())
        for implementation, kinds in document.items():
            for kind, entry in kinds.items():
                yield operation, implementation, kind, entry


@pytest.mark.parametrize(("operation", "implementation", "kind", "entry"), [*entries()])
def test_every_entry_has_all_sizes_and_tells_when_and_how(operation, implementation, kind, entry):
    assert set(entry["sizes"]) == set(tune.groups(operation, implementation)[0][0])
    assert re.match(
        r"2\d{3}-\d\d-\d\d, (compiler estimate|timed on|chosen by hand)", entry["found"]
    )
    with platform("tpu" if implementation.endswith("tpu") else "gpu", kind):
        assert tiles.tiles(operation, implementation) == entry["sizes"]


def test_an_unknown_device_takes_those_for_any():
    with platform("gpu", "sm_12345"):
        found = tiles.tiles("depthwise_conv", "pallas_gpu")
    with platform("gpu"):
        assert found == tiles.tiles("depthwise_conv", "pallas_gpu")


@pytest.mark.parametrize("spans", [16, 64])
def test_sizes_reach_the_kernel(spans):
    with platform("gpu"):
        sizes = {**tiles.tiles("depthwise_conv", "pallas_gpu"), "spans": spans, "channels": 8}

    def run(x, weight):
        with interpreted(), tiles.use(sizes):
            return depthwise_conv(x, weight, 1, 0, implementation="pallas_gpu")

    x, weight = jnp.ones((2, 5, 5, 8)), jnp.ones((3, 3, 8))
    jaxpr = str(jax.make_jaxpr(run)(x, weight))
    assert f"float32[{spans},8]" in jaxpr or f"f32[{spans},8]" in jaxpr
    assert jnp.all(run(x, weight) == 9)


def test_all_kernels_of_a_shape_are_compiled():
    spec = min(specs("pointwise_conv"), key=lambda spec: spec.bytes(1))
    call, shapes = aot.both_ways(spec, 2, "bfloat16")
    with platform("gpu"):
        y, dx, dw, finished = jax.eval_shape(call, *shapes)
    assert y.shape == finished.shape == shapes[0].shape
    assert [dx.shape, dw.shape] == [shape.shape for shape in shapes[2:]]
    assert {a.dtype for a in (y, dx, dw, finished)} == {jnp.dtype(jnp.bfloat16)}
