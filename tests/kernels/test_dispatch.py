import jax
import jax.numpy as jnp
import pytest

from kernels import dispatch
from kernels.inventory import OPERATIONS, in_use
from kernels.pointwise_conv import api

# XLA does these well, or they are made of operations that have kernels.
PALLAS = {"gpu": ("depthwise_conv",), "tpu": ("depthwise_conv", "pointwise_conv")}


@pytest.mark.parametrize("name", ["gpu", "cuda", "rocm", "tpu"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_pallas_comes_first_on_accelerators(operation, name):
    with dispatch.platform(name):
        kind = "tpu" if name == "tpu" else "gpu"
        kernel = f"pallas_{kind}" if operation in PALLAS[kind] else "reference"
        assert in_use(operation).name == kernel


def test_what_a_kernel_lacks_is_left_to_xla():
    x, weight = jnp.zeros((4, 8), jnp.float16), jnp.zeros((8, 8), jnp.float16)

    def call(name):
        return jax.eval_shape(
            lambda x, w: api.OPERATION.function(name)(x, w, None, None, None, "none"), x, weight
        )

    with dispatch.platform("tpu"):
        used, _ = api.OPERATION.first(call)
    assert used == dispatch.InUse(
        "reference", "pallas_tpu: float32 or bfloat16, not float16 and float16"
    )


def test_the_platform_ends_with_its_block():
    before = in_use("pointwise_conv").name
    with dispatch.platform("tpu"):
        pass
    assert in_use("pointwise_conv").name == before != "pallas_tpu"


@pytest.mark.parametrize(("capability", "name"), [(7.5, "reference"), (8.0, "pallas_gpu")])
def test_a_gpu_that_triton_does_not_know_takes_xla(monkeypatch, capability, name):
    monkeypatch.setattr(dispatch, "_compute_capability", lambda: capability)
    monkeypatch.setattr(dispatch, "_platform", lambda: "gpu")
    used = in_use("depthwise_conv")
    assert used.name == name
    assert ("compute capability 7.5, needed 8.0" in used.reason) == (name == "reference")
