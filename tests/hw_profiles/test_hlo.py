from pathlib import Path

import pytest

from hw_profiles.hlo import Flops, Module, Shape, parse, tpu_cycles

# Compiled ahead of time by libtpu 0.0.42.1 and jax-cuda13-plugin 0.10.2 from a small mobilenet_v3
# (8x8 images, batch 2, bfloat16), shortened: without stack frames, Triton's code and, for the TPU,
# what stands beside the estimated cycles.
COMPILED = Path(__file__).parent / "compiled"

SMALL = """\
HloModule small

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%fused (p: f32[4,8], q: f32[8,16]) -> f32[4,16] {
  %p = f32[4,8]{1,0:T(8,128)S(1)} parameter(0)
  %q = f32[8,16]{1,0} parameter(1)
  %product = f32[4,16]{1,0} dot(%p, %q), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %twice = f32[4,16]{1,0} add(%product, %product)
}

ENTRY %main (x: f32[4,8], w: f32[8,16], k: bf16[3,3,2,6]) -> (f32[4], bf16[1,5,5,6]) {
  %x = f32[4,8]{1,0} parameter(0)
  %w = f32[8,16]{1,0} parameter(1)
  %k = bf16[3,3,2,6]{3,2,1,0} parameter(2)
  %zero = f32[] constant(0)
  %image = bf16[1,5,5,2]{3,2,1,0} constant({...})
  %fusion.1 = f32[4,16]{1,0} fusion(%x, %w), kind=kOutput, calls=%fused, metadata={op_name="a/b"}
  %total = f32[4]{0} reduce(%fusion.1, %zero), dimensions={1}, to_apply=%add
  %conv = bf16[1,5,5,6]{3,2,1,0} convolution(%image, %k), window={size=3x3 pad=1_1x1_1}, \
dim_labels=b01f_01io->b01f, backend_config={"estimated_cycles":"120"}
  %window = f32[4,8]{1,0} reduce-window(%fusion.1, %zero), window={size=1x2 stride=1x2}
  %move = f32[8,4]{0,1} copy(%x), backend_config={"estimated_cycles":"30"}
  %silent = f32[32]{0} reshape(%x)
  ROOT %out = (f32[4]{0}, bf16[1,5,5,6]{3,2,1,0}) tuple(%total, %conv)
}
"""


@pytest.fixture(scope="module")
def small() -> Module:
    return parse(SMALL)


def flops(module: Module, name: str) -> Flops:
    return module.flops(module.instructions[name])


def test_shapes_operands_and_names(small: Module) -> None:
    assert small.entry == "main"
    fusion = small.instructions["fusion.1"]
    assert (fusion.op, fusion.operands, fusion.origin) == ("fusion", ("x", "w"), "a/b")
    assert fusion.shapes == (Shape("f32", (4, 16)),)
    assert small.computations["fused"]["p"].shapes == (Shape("f32", (4, 8)),)
    assert [shape.bytes for shape in small.instructions["out"].shapes] == [16, 300]


def test_flops_follow_from_shapes(small: Module) -> None:
    assert flops(small, "fusion.1") == Flops(matrix=2 * 4 * 8 * 16, vector=4 * 16)
    assert flops(small, "total") == Flops(vector=4 * 16)
    assert flops(small, "conv") == Flops(matrix=2 * 25 * 6 * 9 * 2)
    assert flops(small, "window") == Flops(vector=4 * 8 * 2)
    assert flops(small, "move") == flops(small, "silent") == Flops()


def test_bytes_are_operands_and_results(small: Module) -> None:
    assert small.bytes(small.instructions["fusion.1"]) == 4 * (4 * 8 + 8 * 16 + 4 * 16)
    assert small.bytes(small.instructions["move"]) == 2 * 4 * 32


def test_cycles_are_summed_and_silent_instructions_named(small: Module) -> None:
    assert tpu_cycles(small) == (150, ("fusion.1", "total", "window", "silent"))


def test_element_types_have_their_size() -> None:
    sizes = {"pred": 3, "s8": 3, "u4": 2, "bf16": 6, "f8e4m3fn": 3, "f64": 24}
    assert {name: Shape(name, (3,)).bytes for name in sizes} == sizes


def test_text_that_is_no_module_is_refused() -> None:
    with pytest.raises(ValueError, match="without an ENTRY"):
        parse("HloModule x\n")
    with pytest.raises(ValueError, match="open bracket"):
        parse("ENTRY %main (x: f32[]) -> f32[] {\n  %x = (f32[], f32[] tuple(\n}\n")


def test_a_real_tpu_network() -> None:
    module = parse((COMPILED / "v5e.hlo.txt").read_text())
    cycles, silent = tpu_cycles(module)
    with_cycles = [one for one in module.instructions.values() if one.cycles is not None]
    # As `grep -o` sums them.
    assert (cycles, len(with_cycles), silent) == (23526, 10, ())


def test_a_real_gpu_network() -> None:
    module = parse((COMPILED / "sm_87.hlo.txt").read_text())
    pallas = [
        one for one in module.instructions.values() if one.custom_call == "__gpu$xla.gpu.triton"
    ]
    # The depthwise convolutions of the stem and of two blocks.
    assert len(pallas) == 3
    assert pallas[0].origin == "jit(network)/depthwise_conv/pallas_call"
    assert pallas[0].shapes == (Shape("bf16", (2 * 4 * 4, 8)),)
    # The classifier: two images, 24 features, 3 classes.
    assert flops(module, "gemm_fusion_dot_general.19").matrix == 2 * 2 * 24 * 3
