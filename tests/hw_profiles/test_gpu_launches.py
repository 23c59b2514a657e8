from dataclasses import replace
from pathlib import Path

import pytest

from hw_profiles.device import Peak, load_device
from hw_profiles.gpu_launches import Launch, launch_us, launches, occupancy, resident_blocks
from hw_profiles.hlo import parse
from kernels.targets import GPUS, Entry, read_ptxas

# See test_hlo.py for how these were made.
COMPILED = Path(__file__).parent / "compiled"
ORIN = GPUS["sm_87"]
PEAK = Peak(
    matrix_tflops={"bfloat16": 40.0, "float32": 20.0},
    vector_tflops=5.0,
    bandwidth_gbs=200.0,
    launch_us=3.0,
    source="made up",
)
# Fills every multiprocessor with 8 warps, four blocks each.
FULL = Launch("full", "kernel", 0, 0, 0, 64, 64, 32, 0)


def read(name: str) -> str:
    return (COMPILED / f"sm_87.{name}.txt").read_text()


def real() -> dict[str, Launch]:
    entries = {entry.name: entry for entry in read_ptxas(read("ptxas"))}
    found = launches(parse(read("hlo")), read("thunk_sequence"), read("thunk_metadata"), entries)
    return {launch.name: launch for launch in found}


def test_a_real_network_is_twenty_launches() -> None:
    found = real()
    kinds = [launch.kind for launch in found.values()]
    assert (kinds.count("pallas"), kinds.count("library"), kinds.count("kernel")) == (3, 1, 16)
    # The stem's depthwise convolution: 2 images of 4x4 pixels, 8 channels, nine taps, on the
    # ordinary cores, in bfloat16, with a bias and two numbers that say what lives.
    depthwise = found["pallas_call.3"]
    assert (depthwise.matrix_flops, depthwise.vector_flops) == (0, 2 * 32 * 8 * 9)
    assert depthwise.bytes == 2 * (32 * 8 + 9 * 8 + 8 + 32 * 8) + 2 * 4
    assert (depthwise.blocks, depthwise.threads, depthwise.shared_bytes) == (1, 128, 0)
    assert 16 <= depthwise.registers <= 255
    # Its projection, 8 channels to 8, is XLA's, with the activation before it.
    project = found["gemm_fusion_dot"]
    assert project.matrix_flops == 2 * 32 * 8 * 8
    assert project.bytes == 2 * (32 * 8 + 8 * 8 + 8 + 32 * 8)
    # cuDNN's 3x3 convolution of one channel; what it launches is not known.
    stem = found["cudnn-conv-bias-activation.3"]
    assert (stem.matrix_flops, stem.blocks) == (2 * 32 * 8 * 9, 0)
    assert found["gemm_fusion_dot_general.19"].matrix_flops == 2 * 2 * 24 * 3


def test_a_launch_of_which_nothing_is_known_is_not_free() -> None:
    module, sequence, metadata = parse(read("hlo")), read("thunk_sequence"), read("thunk_metadata")
    with pytest.raises(ValueError, match="its registers are unknown"):
        list(launches(module, sequence, metadata, {}))
    with pytest.raises(ValueError, match="which instruction it belongs to is unknown"):
        list(launches(module, sequence, "", {}))
    entries = {entry.name: entry for entry in read_ptxas(read("ptxas"))}
    other = parse(read("hlo").replace("/depthwise_conv/", "/attention/"))
    with pytest.raises(ValueError, match="whose FLOPs are unknown"):
        list(launches(other, sequence, metadata, entries))


def test_the_slower_of_arithmetic_and_memory_counts() -> None:
    library = Launch("gemm", "library", 2_000_000, 400_000_000, 0)
    # 2 MB at 200 GB/s are 10 us, 400 MFLOP at 40 TFLOPS as well.
    assert launch_us(library, ORIN, PEAK, "bfloat16") == pytest.approx(13.0)
    assert launch_us(library, ORIN, PEAK, "float32") == pytest.approx(23.0)
    assert launch_us(replace(library, bytes=4_000_000), ORIN, PEAK, "bfloat16") == pytest.approx(
        23.0
    )
    vector = replace(library, bytes=0, matrix_flops=0, vector_flops=100_000_000)
    assert launch_us(vector, ORIN, PEAK, "bfloat16") == pytest.approx(23.0)
    nothing = replace(library, bytes=0, matrix_flops=0)
    assert launch_us(nothing, ORIN, PEAK, "bfloat16") == 3.0


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "blocks", "why"),
    [
        (64, 32, 0, 16, "blocks of a multiprocessor"),
        (256, 32, 0, 6, "1,536 threads"),
        (256, 64, 0, 4, "65,536 registers"),
        (256, 65, 0, 3, "registers are handed out in lots"),
        (128, 32, 40_000, 4, "167,936 bytes of shared memory, 1 KiB of each block's taken"),
        (1024, 255, 0, 1, "at least one"),
    ],
)
def test_resident_blocks(threads: int, registers: int, shared: int, blocks: int, why: str) -> None:
    launch = Launch("x", "kernel", 0, 0, 0, 1000, threads, registers, shared)
    assert resident_blocks(launch, ORIN) == blocks, why


def test_idle_multiprocessors_and_too_few_warps_cost_arithmetic() -> None:
    bandwidth = 200e9
    assert occupancy(FULL, ORIN, bandwidth)[0] == 1.0
    # One block more than a round makes another round, in which 15 of 16 have nothing to do.
    assert occupancy(replace(FULL, blocks=65), ORIN, bandwidth)[0] == pytest.approx(65 / 80)
    assert occupancy(replace(FULL, blocks=8, threads=256), ORIN, bandwidth)[0] == 0.5
    # A single warp on each multiprocessor, where eight hide the latency.
    assert occupancy(replace(FULL, blocks=16, threads=32), ORIN, bandwidth)[0] == 1 / 8


def test_too_few_threads_cost_bandwidth() -> None:
    # 200 GB/s for 0.6 us are 120,000 bytes in flight, 16 a thread: 7,500 threads.
    assert occupancy(replace(FULL, threads=128), ORIN, 200e9)[1] == 1.0
    assert occupancy(replace(FULL, blocks=16, threads=128), ORIN, 200e9)[1] == pytest.approx(
        2048 / 7500
    )


def test_more_work_never_takes_less_time() -> None:
    device = load_device("orin")
    assert device.peak is not None
    for launch in real().values():
        before = launch_us(launch, ORIN, device.peak, "bfloat16")
        assert before >= device.peak.launch_us
        more = replace(launch, bytes=2 * launch.bytes, vector_flops=10**9)
        assert launch_us(more, ORIN, device.peak, "bfloat16") > before


def test_entries_are_those_of_the_launches() -> None:
    entries = list(read_ptxas(read("ptxas")))
    assert all(isinstance(entry, Entry) and entry.spilled_bytes == 0 for entry in entries)
    assert len(entries) == 19
