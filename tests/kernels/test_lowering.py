"""Pallas kernels can be compiled for devices that this machine lacks, up to their own compilers."""

import jax
import jax.numpy as jnp
import pytest
from jax import export

from kernels.pointwise_conv.api import pointwise_conv

TRITON = "__gpu$xla.gpu.triton"
PLATFORMS = [("cuda", "pallas_gpu", TRITON), ("rocm", "pallas_gpu", TRITON)]
PLATFORMS += [("tpu", "pallas_tpu", "tpu_custom_call")]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("platform", "implementation", "target"), PLATFORMS)
def test_forward_and_both_gradients_are_kernels(platform, implementation, target, dtype):
    def run(x, weight, g, active):
        y, pull_back = jax.vjp(
            lambda x, weight: pointwise_conv(x, weight, active, implementation=implementation),
            x,
            weight,
        )
        return (y, *pull_back(g))

    sizes = ((8, 14, 14, 40), (40, 160), (8, 14, 14, 160))
    shapes = [jax.ShapeDtypeStruct(size, dtype) for size in sizes]
    active = jax.ShapeDtypeStruct((2,), jnp.int32)
    checks = [export.DisabledSafetyCheck.custom_call(TRITON)]
    lowered = export.export(jax.jit(run), platforms=[platform], disabled_checks=checks)
    assert lowered(*shapes, active).mlir_module().count(target) == 3
