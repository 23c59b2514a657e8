"""Pallas kernels can be compiled for devices that this machine lacks, up to their own compilers."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import export

from kernels.depthwise_conv.api import depthwise_conv
from kernels.pointwise_conv.api import pointwise_conv

TRITON = "__gpu$xla.gpu.triton"
GPU, TPU = ("pallas_gpu", TRITON), ("pallas_tpu", "tpu_custom_call")
CASES = [("depthwise_conv", "cuda", *GPU), ("depthwise_conv", "rocm", *GPU)]
CASES += [(name, "tpu", *TPU) for name in ("depthwise_conv", "pointwise_conv")]


# Shapes of the operands and of the result.
OPERATIONS = {
    "pointwise_conv": (pointwise_conv, ((8, 14, 14, 40), (40, 160)), (8, 14, 14, 160)),
    "depthwise_conv": (
        partial(depthwise_conv, stride=2, padding=2),
        ((8, 14, 14, 40), (5, 5, 40)),
        (8, 7, 7, 40),
    ),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("operation", "platform", "implementation", "target"), CASES)
def test_forward_and_both_gradients_are_kernels(operation, platform, implementation, target, dtype):
    call, operands, result = OPERATIONS[operation]

    def run(x, weight, g, active):
        y, pull_back = jax.vjp(
            lambda x, weight: call(x, weight, active=active, implementation=implementation),
            x,
            weight,
        )
        return (y, *pull_back(g))

    shapes = [jax.ShapeDtypeStruct(size, dtype) for size in (*operands, result)]
    active = jax.ShapeDtypeStruct((2,), jnp.int32)
    checks = [export.DisabledSafetyCheck.custom_call(TRITON)]
    lowered = export.export(jax.jit(run), platforms=[platform], disabled_checks=checks)
    text = lowered(*shapes, active).mlir_module()
    assert text.count(target) == 3
